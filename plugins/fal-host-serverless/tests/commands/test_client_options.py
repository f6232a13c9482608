"""
Options and arguments of commands.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("recorder", "rest")


class Terminal(io.StringIO):
    """
    A standard input at which somebody sits.
    """

    def isatty(self) -> bool:
        return True


def test_values_of_secrets_are_read(
    run_beside: Callable[..., tuple[int, str]], recorder: Any, monkeypatch: pytest.MonkeyPatch
):
    """
    Where there is no terminal, each value that is not written is a line of the standard
    input.
    """
    monkeypatch.setattr("sys.stdin", io.StringIO("one\ntwo words\r\nleft\n"))
    assert run_beside("secrets", "set", "A", "B=", "C")[0] == 0
    asked = [(request.name, request.value) for _, request in recorder.asked]
    assert asked == [("A", "one"), ("B", ""), ("C", "two words")]


@pytest.mark.parametrize("given", ["", "\n", "one\n"])
def test_value_that_is_not_there(
    run_beside: Callable[..., tuple[int, str]],
    recorder: Any,
    monkeypatch: pytest.MonkeyPatch,
    given: str,
):
    """
    A line that is empty or missing is an error, and no secret is set.
    """
    monkeypatch.setattr("sys.stdin", io.StringIO(given))
    code, errors = run_beside("secrets", "set", "A", "B")
    name = "B" if given.strip() else "A"
    assert code == 1
    assert f"Value of {name} cannot be read: standard input is no terminal" in errors
    assert errors.endswith(f"Write it there, or give it as in {name}=VALUE.")
    assert recorder.asked == []


def test_terminal_is_asked(
    run_beside: Callable[..., tuple[int, str]], recorder: Any, monkeypatch: pytest.MonkeyPatch
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
    assert run_beside("secrets", "set", "A")[0] == 0
    assert recorder.last("SetSecret").value == "typed"
    assert hidden == [("Value of A", True, True)]
