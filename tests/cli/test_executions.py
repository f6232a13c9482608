"""``fal-core executions``: detached work is listed, attached to and cancelled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fal_testing.harness.processes import is_alive, wait_until

FUNCTIONS = """
import os
import sys
import time

import attrs

from fal_core import function
from fal_core.wrappers import WrapperHost
from fal_host_local import LocalHost


@function("current")
def add(a: int, b: int = 2) -> int:
    print("adding")
    return a + b


@function("current")
def fail() -> None:
    raise LookupError("gone")


@function("current")
def leave(status: int) -> None:
    print("leaving")
    sys.exit(status)


class OfAProgram(WrapperHost):
    def launch(self, call, sink):
        return self.inner.launch(attrs.evolve(call, owner="A program"), sink)


@function("current")
def sleep(pid_file: str) -> None:
    with open(pid_file + ".part", "w") as file:
        file.write(str(os.getpid()))
    os.rename(pid_file + ".part", pid_file)
    # Ends by being cancelled.
    time.sleep(600)


serve = function("current", host=OfAProgram(LocalHost()))(sleep.raw_func)
"""


@pytest.fixture
def program(command_line: Any) -> Any:
    """The program, beside a file of functions."""
    command_line.write("functions.py", FUNCTIONS)
    return command_line


def test_detached_work_is_listed_followed_and_forgotten(program: Any) -> None:
    """Detached work goes on without the program, and is found by its reference."""
    done = program("run", "functions.py::add", "1", "--detach")
    assert done.returncode == 0, done.stderr
    reference = done.stdout.strip()
    listed = json.loads(program("executions", "list", "--json").stdout)
    assert [(each["reference"], each["name"]) for each in listed] == [(reference, "add")]
    assert reference in program("executions", "list").stdout
    assert program("executions", "attach", reference).stdout == "adding\n3\n"
    attached = program("executions", "attach", reference, "--json")
    assert attached.stdout == "3\n"
    assert "adding" in attached.stderr


def test_detached_work_fails_as_any_other(program: Any) -> None:
    """Attaching to work that raised shows the traceback, with exit code 1."""
    reference = program("run", "functions.py::fail", "--detach").stdout.strip()
    done = program("executions", "attach", reference)
    assert done.returncode == 1
    assert "LookupError: gone" in done.stderr


def test_attaching_ends_with_the_exit_code_of_the_work(program: Any) -> None:
    """Attaching to work that exited ends with its exit code, without a traceback."""
    reference = program("run", "functions.py::leave", "4", "--detach").stdout.strip()
    done = program("executions", "attach", reference)
    assert (done.returncode, done.stdout, done.stderr) == (4, "leaving\n", "")


def test_detached_work_is_cancelled(program: Any, tmp_path: Path) -> None:
    """Cancelling detached work ends its worker."""
    pid_file = tmp_path / "pid"
    done = program("run", "functions.py::sleep", str(pid_file), "--detach")
    reference = done.stdout.strip()
    assert wait_until(pid_file.exists, 60)
    listed = json.loads(program("executions", "list", "--json").stdout)
    shown = [(each["ended"], each["phase"], each["end"]) for each in listed]
    assert shown == [(False, "running", None)]
    done = program("executions", "cancel", reference)
    assert (done.returncode, done.stdout) == (0, f"{reference} has ended.\n"), done.stderr
    # Its worker ends with its supervisor, which has told the end by then.
    assert wait_until(lambda: not is_alive(int(pid_file.read_text())), 60)
    listed = json.loads(program("executions", "list", "--json").stdout)
    shown = [(each["ended"], each["phase"], each["end"]) for each in listed]
    assert shown == [(True, "ended", "cancelled")]


def test_work_of_programs_is_listed_when_asked_for(program: Any, tmp_path: Path) -> None:
    """The list has the user's own work; that of a program is counted, and listed by --all."""
    own = program("run", "functions.py::add", "1", "--detach").stdout.strip()
    pid_file = tmp_path / "pid"
    theirs = program("run", "functions.py::serve", str(pid_file), "--detach").stdout.strip()
    assert wait_until(pid_file.exists, 60)
    listed = program("executions", "list")
    assert own in listed.stdout
    assert theirs not in listed.stdout
    assert listed.stderr == "A program has 1 more; --all lists them.\n"
    everything = json.loads(program("executions", "list", "--all", "--json").stdout)
    owners = {each["reference"]: each["owner"] for each in everything}
    assert owners == {own: "", theirs: "A program"}
    rows = program("executions", "list", "--all").stdout.splitlines()
    assert [row.split()[0] for row in rows if row.endswith("A program")] == [theirs]
    assert program("executions", "cancel", theirs).returncode == 0
    assert program("executions", "list").stderr == ""


def test_unknown_references_are_one_sentence(program: Any) -> None:
    """An unknown reference is an error that says how to list detached work."""
    for command in ("attach", "cancel"):
        done = program("executions", command, "nothing")
        assert done.returncode == 1
        assert "'fal-core executions list'" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert program("executions", "list").stdout == "Host 'local' has no detached work.\n"
