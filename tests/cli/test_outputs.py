"""The command line when its output cannot be written."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fal_testing.harness.processes import wait_until

FULL = "Error: The output cannot be written: No space left on device.\n"

FUNCTIONS = """
import os
import sys

from fal_core import function


@function("current")
def spam(count: int, pid_file: str):
    with open(pid_file, "w") as file:
        file.write(str(os.getpid()))
    for number in range(count):
        print("line", number)
        print("mishap", number, file=sys.stderr)


@function("current")
def count(up_to: int):
    yield from range(up_to)


@function("current")
def one() -> int:
    return 1
"""


@pytest.fixture
def program(command_line: Any) -> Any:
    """The program, beside a file of functions."""
    command_line.write("functions.py", FUNCTIONS)
    return command_line


def run_into(program: Any, output: Any, *arguments: str, **streams: Any) -> Any:
    return subprocess.run(
        [*program.argv, *arguments],
        cwd=program.folder,
        env=program.variables,
        stdout=output,
        timeout=240,
        text=True,
        **{"stderr": subprocess.PIPE, **streams},
    )


def run_closed(program: Any, *arguments: str, **streams: Any) -> Any:
    """Run the program with an output whose reader is closed."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return run_into(program, writer, *arguments, **streams)
    finally:
        os.close(writer)


@pytest.fixture(params=["", "1"], ids=["buffered", "unbuffered"])
def buffering(request: pytest.FixtureRequest, program: Any) -> None:
    """Both ways in which Python writes."""
    program.variables["PYTHONUNBUFFERED"] = request.param


@pytest.mark.usefixtures("buffering")
def test_closed_output_ends_the_call_silently(program: Any, tmp_path: Path) -> None:
    """Closing the pipe that a function prints to ends the call and its worker."""
    pid_file = tmp_path / "pid"
    arguments = ("run", "functions.py::spam", "100000", str(pid_file))
    done = run_closed(program, *arguments)
    assert done.returncode == 1
    assert not [line for line in done.stderr.splitlines() if not line.startswith("mishap ")]
    pid = pid_file.read_text()
    assert wait_until(lambda: not os.path.exists(f"/proc/{pid}"), 60)
    # As with 2>&1.
    done = run_closed(program, *arguments, stderr=subprocess.STDOUT)
    assert done.returncode == 1


@pytest.mark.usefixtures("buffering")
@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "functions.py::count", "100000"],
        ["run", "functions.py::one"],
        ["hosts", "list"],
        ["--help"],
    ],
    ids=" ".join,
)
def test_closed_output_is_no_error(program: Any, arguments: list[str]) -> None:
    """A command whose output is no longer read ends silently."""
    done = run_closed(program, *arguments)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.usefixtures("buffering")
@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "functions.py::count", "100000"],
        ["run", "functions.py::one"],
        ["run", "functions.py::one", "--json"],
        ["run", "functions.py::one", "--detach"],
        ["explain", "functions.py::one"],
        ["explain", "functions.py::one", "--json"],
        ["plugins", "list"],
        ["plugins", "list", "--json"],
        ["env", "list"],
        ["env", "list", "--json"],
        ["hosts", "list"],
        ["hosts", "list", "--json"],
        ["hosts", "describe", "local"],
        ["executions", "list", "--json"],
        ["doctor"],
        ["--version"],
        ["run", "--help"],
    ],
    ids=" ".join,
)
def test_output_that_is_full_is_one_sentence(program: Any, arguments: list[str]) -> None:
    """An output that cannot be written is an error of one sentence, with exit code 1."""
    with open("/dev/full", "w") as full:
        done = run_into(program, full, *arguments)
    assert (done.returncode, done.stderr) == (1, FULL)


def test_lines_that_cannot_be_written_are_one_sentence(program: Any, tmp_path: Path) -> None:
    """Also where it is the function that prints, whose call is ended."""
    pid_file = tmp_path / "pid"
    program.variables["PYTHONUNBUFFERED"] = "1"
    with open("/dev/full", "w") as full:
        done = run_into(program, full, "run", "functions.py::spam", "9999", str(pid_file))
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines(True) if not line.startswith("mishap ")]
    assert lines == [FULL]
    pid = pid_file.read_text()
    assert wait_until(lambda: not os.path.exists(f"/proc/{pid}"), 60)


def test_exit_code_is_set_without_a_standard_error(program: Any) -> None:
    """The exit code is set even if the standard error cannot be written either."""
    with open("/dev/full", "w") as full:
        done = run_into(program, full, "run", "functions.py::one", stderr=full)
    assert done.returncode == 1


@pytest.mark.parametrize("name", ["file", "file/cache"])
def test_a_cache_that_cannot_be_used_is_one_sentence(program: Any, name: str) -> None:
    """If a file stands in the place of the cache, commands that read the cache name that file."""
    path = program.write("file", "in the way")
    program.variables["FAL_CORE_CACHE"] = str(program.folder / name)
    # 'prune' removes what killed programs have left in it.
    program.variables["UV_CACHE_DIR"] = str(program.folder / "uv")
    for arguments in (["list"], ["list", "--json"], ["prune"], ["verify"]):
        done = program("env", *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(
            f"Error: A file is where the cache directory needs a directory: {path}. "
        )
        assert len(done.stderr.splitlines()) == 1
