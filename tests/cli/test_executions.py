"""
``fal-core executions``: detached work is listed, attached to and cancelled.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fal_core.testing.harness.processes import is_alive, wait_until

FUNCTIONS = """
import os
import sys
import time

from fal_core import function


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


@function("current")
def sleep(pid_file: str) -> None:
    with open(pid_file + ".part", "w") as file:
        file.write(str(os.getpid()))
    os.rename(pid_file + ".part", pid_file)
    # Ends by being cancelled.
    time.sleep(600)
"""


@pytest.fixture
def program(command_line: Any) -> Any:
    """
    The program, beside a file of functions.
    """
    command_line.write("functions.py", FUNCTIONS)
    return command_line


def test_detached_work_is_listed_followed_and_forgotten(program: Any) -> None:
    """
    Detached work goes on without the program, and is found by its reference.
    """
    done = program("run", "functions.py::add", "1", "--detach")
    assert done.returncode == 0, done.stderr
    reference = done.stdout.strip()
    listed = json.loads(program("executions", "list", "--json").stdout)
    assert [(each["reference"], each["name"]) for each in listed] == [(reference, "add")]
    assert reference in program("executions", "list").stdout
    assert program("executions", "attach", reference).stdout == "adding\n3\n"
    attached = program("executions", "attach", reference, "--output", "json")
    assert attached.stdout == "3\n"
    assert "adding" in attached.stderr


def test_detached_work_fails_as_any_other(program: Any) -> None:
    """
    Attaching to work that raised shows the traceback, with exit code 1.
    """
    reference = program("run", "functions.py::fail", "--detach").stdout.strip()
    done = program("executions", "attach", reference)
    assert done.returncode == 1
    assert "LookupError: gone" in done.stderr


def test_attaching_ends_with_the_exit_code_of_the_work(program: Any) -> None:
    """
    Attaching to work that exited ends with its exit code, without a traceback.
    """
    reference = program("run", "functions.py::leave", "4", "--detach").stdout.strip()
    done = program("executions", "attach", reference)
    assert (done.returncode, done.stdout, done.stderr) == (4, "leaving\n", "")


def test_detached_work_is_cancelled(program: Any, tmp_path: Path) -> None:
    """
    Cancelling detached work ends its worker.
    """
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


def test_unknown_references_are_one_sentence(program: Any) -> None:
    """
    An unknown reference is an error that says how to list detached work.
    """
    for command in ("attach", "cancel"):
        done = program("executions", command, "nothing")
        assert done.returncode == 1
        assert "'fal-core executions list'" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert program("executions", "list").stdout == "Host 'local' has no detached work.\n"
