"""Options and arguments of commands."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("recorder", "rest")


class Terminal(io.StringIO):
    """Standard input that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_values_of_secrets_are_read(
    run_beside: Callable[..., tuple[int, str]], recorder: Any, monkeypatch: pytest.MonkeyPatch
):
    """Without a terminal, each missing value is read from a line of standard input."""
    monkeypatch.setattr("sys.stdin", io.StringIO("one\ntwo words\r\nleft\n"))
    assert run_beside("secrets", "set", "A", "B=", "C")[0] == 0
    asked = [(request.name, request.value) for _, request in recorder.asked]
    assert asked == [("A", "one"), ("B", ""), ("C", "two words")]


@pytest.mark.parametrize("given", ["", "\n", "one\n"])
def test_missing_value_is_an_error(
    run_beside: Callable[..., tuple[int, str]],
    recorder: Any,
    monkeypatch: pytest.MonkeyPatch,
    given: str,
):
    """An empty or missing line is an error, and no secret is set."""
    monkeypatch.setattr("sys.stdin", io.StringIO(given))
    code, errors = run_beside("secrets", "set", "A", "B")
    name = "B" if given.strip() else "A"
    assert code == 1
    assert f"Value of {name} cannot be read: standard input is no terminal" in errors
    assert errors.endswith(f"Write it there, or give it as in {name}=VALUE.")
    assert recorder.asked == []


def test_value_is_asked_for_at_a_terminal(
    run_beside: Callable[..., tuple[int, str]], recorder: Any, monkeypatch: pytest.MonkeyPatch
):
    """At a terminal the value is asked for, and not shown."""
    hidden = []

    def prompt(what: str, *, hide_input: bool, err: bool) -> str:
        hidden.append((what, hide_input, err))
        return "typed"

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("click.prompt", prompt)
    assert run_beside("secrets", "set", "A")[0] == 0
    assert recorder.last("SetSecret").value == "typed"
    assert hidden == [("Value of A", True, True)]
