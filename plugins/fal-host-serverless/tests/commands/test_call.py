"""The command ``call``."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def ask(
    rest: Any, printed_by: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], str]:
    """Run a command line where applications answer, and return what it prints."""
    for name in ("FAL_RUN_HOST", "FAL_QUEUE_RUN_HOST"):
        monkeypatch.setenv(name, rest.address)
    return printed_by


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("app", "/me/app/"),
        ("me/app/find", "/me/app/find"),
        ("app/find/it?word=a%2Fb", "/me/app/find/it?word=a%2Fb"),
        ("app/find --stage staging", "/me/app--staging/find"),
        ("app/find --owner other", "/other/app/find"),
    ],
)
def test_application_and_path(ask: Any, rest: Any, target: str, path: str):
    """
    The owner is who asks unless one is named, whose name may also stand before their own
    application.
    """
    assert json.loads(ask(f"call {target}"))["request_id"] == "r1"
    assert rest.asked[-1] == ("POST", path)
    assert rest.submitted == [{}]


def test_bodies(ask: Any, rest: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A body is written, in a file, or on standard input."""
    (tmp_path / "body.json").write_text("[1]")
    monkeypatch.setattr(sys, "stdin", io.StringIO('"in"'))
    for written in ('{"a":1}', f"@{tmp_path}/body.json", "-"):
        ask(f"call app --json {written}")
    assert rest.submitted == [{"a": 1}, [1], "in"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("app", "--json", "{a"), "It is not JSON"),
        (("app", "--json", "@missing.json"), "'@missing.json' cannot be read"),
        (("app", "--queue", "--stream"), "whose result comes at its end"),
        (("app", "--queue", "--method", "GET"), "whose result comes at its end"),
    ],
)
def test_wrong_command_line_is_refused(
    refused: Callable[..., str], arguments: tuple[str, ...], told: str
):
    """The error says what to give instead."""
    assert told in refused("call", *arguments)
