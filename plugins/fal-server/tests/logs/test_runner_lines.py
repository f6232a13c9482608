"""Lines that functions print when clients of this project run them on a server."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

pytest.importorskip("fal_host_serverless")
pytest.importorskip("fal_env_virtualenv")

from fal_core import function
from fal_core.events import Log
from fal_host_serverless import FalServerlessHost
from fal_host_serverless.running import followers
from fal_testing.harness.processes import wait_until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, launch_program: Any) -> Iterator[Any]:
    """A server in a process of its own, at which the variables of this process point."""
    program = launch_program(tmp_path_factory.mktemp("printed") / "data")
    program.variables = program.wait_until_ready()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in program.variables.items():
            patch.setenv(name, value)
        yield program
    assert program.end() == 0, program.errors.read_text()


def lines_of(spawned: Any) -> list[tuple[str, str]]:
    """Return the levels and the texts of the lines that a call has printed."""
    spawned.future.result()
    found: list[Log] = []
    while not spawned.logs.empty():
        found.append(spawned.logs.get())
    return [(line.level, line.message) for line in found if line.source == "USER"]


def double(x: int) -> int:
    """Return twice as much."""
    return 2 * x


def tell(line: str) -> None:
    """Print a line."""
    print(line)


def speak(word: str) -> None:
    """Print in all ways there are."""
    import os
    import sys
    import time

    from fal_core_worker.serving import services

    print("Half", end="", flush=True)
    # Half a line is sent on after a moment, and this one is printed later.
    time.sleep(0.2)
    print(f" and half a line, {word}.")
    services.write("INFO", "An error, by its words, and none by its level.")
    os.system("echo By a program.")
    print("Wrong\tor not \x1b[1m", file=sys.stderr)
    sys.stdout = sys.stderr
    os.close(1)


@pytest.mark.parametrize("word", ["first", "second"])
def test_lines_arrive_once_and_unchanged(server, word):
    """
    Each line comes once, in order and with its level, however it was printed, and
    whatever an earlier call has left the standard streams like.
    """
    host = FalServerlessHost(server.variables["FAL_GRPC_HOST"])
    isolated = function("virtualenv", host=host, keep_alive=60)(speak)
    assert lines_of(isolated.spawn(word)) == [
        ("STDOUT", f"Half and half a line, {word}."),
        ("INFO", "An error, by its words, and none by its level."),
        ("STDOUT", "By a program."),
        ("STDERR", "Wrong\tor not \x1b[1m"),
    ]


def test_kept_lines_have_no_marks(server, settle):
    """Kept lines of a call are the printed text, without the marks that only the client reads."""
    host = FalServerlessHost(server.variables["FAL_GRPC_HOST"])
    isolated = function("virtualenv", host=host, keep_alive=60)(tell)
    isolated("Kept as it is.")
    (path,) = server.data.glob("*.db")

    def read_kept() -> list[str]:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            return [message for (message,) in connection.execute("SELECT message FROM logs")]

    settle(lambda: "Kept as it is." in read_kept(), hint=read_kept)
    assert not [message for message in read_kept() if "\x1f" in message]


def test_calls_in_a_row_share_threads(server):
    """No thread is started for a call while one that has followed another is free."""
    host = FalServerlessHost(server.variables["FAL_GRPC_HOST"])
    isolated = function("virtualenv", host=host, keep_alive=60)(double)
    before = threading.enumerate()
    for number in range(10):
        assert isolated(number) == 2 * number
        # A thread reads on for a moment once it has told the result.
        assert wait_until(lambda: bool(followers._idle), 60)
    started = [thread.name for thread in threading.enumerate() if thread not in before]
    assert started.count("fal-core follower") <= 1
