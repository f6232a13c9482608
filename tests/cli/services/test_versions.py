"""Versions of a program that is started again: each is a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fal_testing.harness.processes import is_alive, wait_until

pytestmark = pytest.mark.faults

#: Seconds that processes have.
PATIENCE = 60

#: Runs the steps it is given, one for each version.
PROGRAM = """
import os, sys, time
import click
from fal_core.cli.services.versions import Versions

MODULE = "fal_core_worker.serving.routes"
steps = sys.argv[2:]


def run(version):
    with open(sys.argv[1], "a+") as file:
        file.seek(0)
        number = len(file.read())
        file.write("x")
    print("version", number, os.getpid(), MODULE in sys.modules, flush=True)
    step = steps[number]
    if step.startswith("import"):
        module = __import__(MODULE, fromlist=["_"])
        version.serves([module.__file__] if step == "import local" else [])
    if step == "wait":
        try:
            print("waiting", flush=True)
            # Ends by being interrupted.
            time.sleep(600)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
            try:
                # A second interrupt would end it.
                time.sleep(0.3)
            finally:
                os._exit(4)
    if step.isdigit():
        sys.exit(int(step))
    if step == "kill":
        os.kill(os.getpid(), 9)
    version.end()


try:
    Versions().run(run)
except click.exceptions.Exit as end:
    sys.exit(end.exit_code)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the program with its steps, in a process group as that of a terminal."""
    started: list[subprocess.Popen[str]] = []

    def start(*steps: str) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(tmp_path / "count"), *steps],
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        with process:
            process.kill()


def told(process: subprocess.Popen[str]) -> list[list[str]]:
    """Return the lines of a program that ends, as words."""
    out, _ = process.communicate(timeout=PATIENCE)
    return [line.split() for line in out.splitlines()]


def next_words(process: Any) -> list[str]:
    words: list[str] = process.stdout.readline().split()
    return words


def test_each_version_is_a_process_and_the_last_has_the_exit_code(start: Any) -> None:
    """The next version starts when one asks for it; the program ends as the last one does."""
    program = start("next", "next", "5")
    lines = told(program)
    assert [line[1] for line in lines] == ["0", "1", "2"]
    assert len({line[2] for line in lines} | {str(program.pid)}) == 4
    assert program.returncode == 5


@pytest.mark.parametrize(("step", "kept"), [("import", "True"), ("import local", "False")])
def test_modules_of_one_version_are_there_for_the_next(
    start: Any, step: str, kept: str
) -> None:
    """What a version has imported of ours need not be imported again, unless it is watched."""
    lines = told(start(step, "0"))
    assert [line[3] for line in lines] == ["False", kept]


def test_a_version_that_is_killed_ends_the_program(start: Any) -> None:
    """The exit code is that of a shell for a process that a signal has ended."""
    program = start("kill", "0")
    assert len(told(program)) == 1
    assert program.returncode == 128 + signal.SIGKILL


def test_an_interrupt_of_the_group_counts_once(start: Any) -> None:
    """
    Ctrl-C reaches all processes of a terminal; the version is interrupted once, and is the
    last.
    """
    program = start("wait", "0")
    assert next_words(program)[:2] == ["version", "0"]
    assert next_words(program) == ["waiting"]
    os.killpg(program.pid, signal.SIGINT)
    assert told(program) == [["interrupted"]]
    assert program.returncode == 4


def test_a_version_ends_with_its_program(start: Any) -> None:
    """However the program ends, no version is left."""
    program = start("wait")
    version = int(next_words(program)[2])
    program.kill()
    program.wait(PATIENCE)
    assert wait_until(lambda: not is_alive(version), PATIENCE)
