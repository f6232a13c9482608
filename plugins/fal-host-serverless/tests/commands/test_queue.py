"""The command ``queue``."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        ("queue size app", "3"),
        ("queue flush app", "is empty"),
    ],
)
def test_responses_are_printed(printed_by: Callable[[str], str], arguments: str, printed: str):
    """Each command sends its request, and prints the response."""
    assert printed in printed_by(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        "queue size app",
        "queue flush app",
    ],
)
def test_responses_are_printed_as_json(printed_by: Callable[[str], str], arguments: str):
    """Every command prints JSON with ``--json``."""
    assert json.loads(printed_by(f"{arguments} --json"))


@pytest.mark.usefixtures("recorder", "rest")
@pytest.mark.parametrize("command", ["size", "flush"])
def test_queue_of_no_application(run_beside: Callable[..., tuple[int, str]], command: str):
    """The error for an unknown application says how to list them."""
    code, errors = run_beside("queue", command, "nope")
    assert code == 1
    assert errors.endswith(
        "Application 'nope' was not found. 'fal-core apps list' lists the applications, and "
        "with '--env' those of another stage."
    )
