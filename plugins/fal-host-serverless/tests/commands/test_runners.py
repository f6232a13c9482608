"""The command ``runners``."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        ("runners list --since 10m", "idle"),
        ("runners stop r", "finishes its requests"),
        ("runners kill r", "is killed"),
    ],
)
def test_responses_are_printed(printed_by: Callable[[str], str], arguments: str, printed: str):
    """Each command sends its request, and prints the response."""
    assert printed in printed_by(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        "runners list",
        "runners stop r",
        "runners kill r",
    ],
)
def test_responses_are_printed_as_json(printed_by: Callable[[str], str], arguments: str):
    """Every command prints JSON with ``--json``."""
    assert json.loads(printed_by(f"{arguments} --json"))
