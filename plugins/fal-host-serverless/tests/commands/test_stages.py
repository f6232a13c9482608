"""The command ``stages``."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        ("stages list", "main"),
        ("environments list", "main"),
        ("stages create staging", "is created"),
        ("stages delete staging", "is deleted"),
    ],
)
def test_responses_are_printed(printed_by: Callable[[str], str], arguments: str, printed: str):
    """Each command sends its request, and prints the response."""
    assert printed in printed_by(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        "stages list",
        "stages create e",
        "stages delete e",
    ],
)
def test_responses_are_printed_as_json(printed_by: Callable[[str], str], arguments: str):
    """Every command prints JSON with ``--json``."""
    assert json.loads(printed_by(f"{arguments} --json"))
