"""
Command lines: what is told of a wrong one, and what is read from the standard input.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("recorder", "rest")

#: An application, and what the tests name wrongly beside it.
APPLICATION = """
from fal_core import function


@function("virtualenv", host="serverless")
def look() -> int:
    return 1
"""


class Terminal(io.StringIO):
    """
    A standard input at which somebody sits.
    """

    def isatty(self) -> bool:
        return True


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> Callable[..., tuple[int, str]]:
    """
    Run the command line beside an application, and return its exit code and its errors.
    """
    (tmp_path / "looking.py").write_text(APPLICATION)
    monkeypatch.chdir(tmp_path)

    def start(*arguments: str) -> tuple[int, str]:
        from fal_core.cli.program import run

        code = run(arguments)
        return code, " ".join(capsys.readouterr().err.split())

    return start


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("deploy",), "The application is not given"),
        (("deploy", "nobody.py::look"), "There is no file nobody.py"),
        (("deploy", "looking.py::nothing"), "There is no 'nothing' in looking.py"),
        (("deploy", "search"), "The application names no file"),
        (
            ("deploy", "looking.py::look", "--attach", "--strategy", "recreate"),
            "Only a rolling deployment can be attached to",
        ),
        (("keys", "create", "--preset", "none"), "The preset of a key is 'full'"),
        (("secrets", "set", "=word"), "'=word' names no secret"),
        (("apps", "scale", "app"), "Give one or more of --keep-alive, --max-multiplexing"),
        (
            ("apps", "scale", "app", "--min-concurrency", "foo"),
            "Invalid value for '--min-concurrency': 'foo' is not a whole number >= 0.",
        ),
        (
            ("apps", "scale", "app", "--keep-alive", "-1"),
            "Invalid value for '--keep-alive': '-1' is not a whole number >= 0.",
        ),
    ],
)
def test_wrong_command_line(
    run: Callable[..., tuple[int, str]], recorder: Any, arguments: tuple[str, ...], told: str
):
    """
    A command line that is wrong ends with 2 and a sentence that says why, and nothing is
    asked.
    """
    code, errors = run(*arguments)
    assert code == 2
    assert told in errors
    assert f"Usage: fal-core {arguments[0]}" in errors
    assert recorder.asked == []


@pytest.mark.parametrize("command", ["size", "flush"])
def test_queue_of_no_application(run: Callable[..., tuple[int, str]], command: str):
    """
    An application that there is not is told as that.
    """
    code, errors = run("queue", command, "nope")
    assert code == 1
    assert errors.endswith(
        "Application 'nope' was not found. 'fal-core apps list' shows those that there are, "
        "with '--env' those of another environment."
    )


def test_file_that_cannot_be_loaded(run: Callable[..., tuple[int, str]], tmp_path: Path):
    """
    A mistake in the file of an application is an error, and no wrong command line.
    """
    (tmp_path / "broken.py").write_text("raise LookupError('no weights')")
    code, errors = run("deploy", "broken.py::look")
    assert code == 1
    assert "no weights" in errors


def test_values_of_secrets_are_read(
    run: Callable[..., tuple[int, str]], recorder: Any, monkeypatch: pytest.MonkeyPatch
):
    """
    Where there is no terminal, each value that is not written is a line of the standard
    input.
    """
    monkeypatch.setattr("sys.stdin", io.StringIO("one\ntwo words\r\nleft\n"))
    assert run("secrets", "set", "A", "B=", "C")[0] == 0
    asked = [(request.name, request.value) for _, request in recorder.asked]
    assert asked == [("A", "one"), ("B", ""), ("C", "two words")]


@pytest.mark.parametrize("given", ["", "\n", "one\n"])
def test_value_that_is_not_there(
    run: Callable[..., tuple[int, str]],
    recorder: Any,
    monkeypatch: pytest.MonkeyPatch,
    given: str,
):
    """
    A line that is empty or missing is an error, and no secret is set.
    """
    monkeypatch.setattr("sys.stdin", io.StringIO(given))
    code, errors = run("secrets", "set", "A", "B")
    name = "B" if given.strip() else "A"
    assert code == 1
    assert f"Value of {name} is to be a line of the standard input" in errors
    assert errors.endswith(f"Write it there, or give it as in {name}=VALUE.")
    assert recorder.asked == []


def test_terminal_is_asked(
    run: Callable[..., tuple[int, str]], recorder: Any, monkeypatch: pytest.MonkeyPatch
):
    """
    Who sits at a terminal types the value, unseen.
    """
    hidden = []

    def prompt(what: str, *, hide_input: bool, err: bool) -> str:
        hidden.append((what, hide_input, err))
        return "typed"

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("click.prompt", prompt)
    assert run("secrets", "set", "A")[0] == 0
    assert recorder.last("SetSecret").value == "typed"
    assert hidden == [("Value of A", True, True)]
