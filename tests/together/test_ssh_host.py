"""The host of the tutorial runs on a real sshd."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fal_core import errors, function
from fal_core.hosts import Host
from fal_core_worker import trees
from fal_testing.harness.processes import is_alive, wait_until
from fal_testing.harness.recorders import Recorder

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def host(ssh_server: Any, ssh_example: ModuleType) -> Iterator[Host[..., Any]]:
    host = ssh_example.SshHost(
        ssh_server.address, python=sys.executable, arguments=ssh_server.arguments
    )
    yield host
    host.close()


def test_call_runs_behind_ssh(host: Host[..., Any], capfd: pytest.CaptureFixture[str]):
    """The function runs in a session of ssh, and its output arrives before its result."""

    @function("current", host=host)
    def look(number: int) -> tuple[int, bool]:
        print("over there")
        return number + 1, "SSH_CONNECTION" in os.environ

    assert look(1) == (2, True)
    assert capfd.readouterr().out == "over there\n"


def test_lost_worker_is_distinguished_from_a_lost_connection(
    host: Host[..., Any], ssh_example: ModuleType
):
    """A worker that exits is WorkerLost with its code; a machine that is not there, HostClosed."""

    @function("current", host=host)
    def leave() -> None:
        os._exit(3)

    with pytest.raises(errors.WorkerLost) as lost:
        leave()
    assert lost.value.code == 3
    nowhere = ssh_example.SshHost("root@127.0.0.1", arguments=("-p", "1", "-F", "none"))
    with pytest.raises(errors.HostClosed, match="refused"):
        leave.on(nowhere)()


def test_a_machine_that_falls_silent_is_lost(ssh_server: Any, host: Host[..., Any]):
    """A machine of which nothing comes any more, not even the end of a stream, ends its calls."""

    @function("current", host=host)
    def stay() -> None:
        print(f"at {os.getpid()}")
        time.sleep(600)

    recorder = Recorder(stay.make_launcher())
    recorder.launch()
    line = recorder.wait_for_line_like("at ", 60).message
    session = ssh_server.session_of(int(line.split()[1]))
    for each in session:
        os.kill(each, signal.SIGSTOP)
    try:
        reason = recorder.wait(60).reason
    finally:
        for each in session:
            os.kill(each, signal.SIGCONT)
    assert isinstance(reason, errors.HostClosed)


def test_timeout_ends_the_process_there(host: Host[..., Any], tmp_path: Any):
    """A call that is ended leaves nothing behind on the other machine."""
    trace = tmp_path / "pid"

    @function("current", host=host)
    def sleep(path: str) -> None:
        with open(path, "w") as file:
            file.write(str(os.getpid()))
        # Ends by the timeout of the call.
        time.sleep(600)

    # A busy machine may not come as far as the function in the shorter time.
    for seconds in (2, 30):
        with pytest.raises(TimeoutError):
            sleep.with_policy(timeout=seconds)(str(trace))
        if trace.exists() and trace.read_text():
            break
    assert wait_until(lambda: not is_alive(int(trace.read_text())), 60)


PROGRAM = """
import ctypes
import subprocess
import sys

from ssh_host import SshHost

from fal_core import function

path, address, python, *arguments = sys.argv[1:]
host = SshHost(address, python=python, arguments=tuple(arguments))


@function("current", host=host)
def hold(path: str) -> None:
    import os

    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    with open(path + ".new", "w") as file:
        file.write(f"{child.pid} {os.getpid()}")
    os.rename(path + ".new", path)
    # No other thread runs meanwhile, the one that reads the stream included.
    ctypes.PyDLL(None).sleep(600)


hold(path)
"""


@pytest.mark.faults
@pytest.mark.parametrize("broken", ["program", "connection"])
def test_lost_client_ends_what_it_started_there(ssh_server: Any, tmp_path: Any, broken: str):
    """
    A client that is killed, or cut off, leaves nothing on the other machine, not even
    native code that keeps the worker from noticing.
    """
    trace = tmp_path / "processes"
    program = subprocess.Popen(
        [
            *(sys.executable, "-c", PROGRAM, str(trace), ssh_server.address),
            *(sys.executable, *ssh_server.arguments),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT / "examples")},
        stderr=subprocess.PIPE,
    )
    try:
        assert wait_until(trace.exists, 60)
        there = [int(word) for word in trace.read_text().split()]
        (client,) = trees.children(program.pid)
        os.kill(program.pid if broken == "program" else client, signal.SIGKILL)
        assert wait_until(lambda: not any(map(is_alive, there)), 60)
    finally:
        program.kill()
        program.communicate()


def test_url_names_the_machine(ssh_example: ModuleType):
    """A URL without a machine is refused with what to write."""
    assert ssh_example.SshHost.from_url("ssh://me@there").address == "me@there"
    with pytest.raises(errors.OptionError, match="Write 'ssh://user@machine'"):
        ssh_example.SshHost.from_url("ssh://")
