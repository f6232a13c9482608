"""
The command ``apps``.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        ("apps list", "app    shared  1"),
        ("apps list --filter other", "other"),
        ("apps rollout app", "being replaced"),
        ("apps runners app --state running", "running"),
        ("apps scale app --max-concurrency 3", "scales from 0 to 4"),
    ],
)
def test_responses_are_printed(printed_by: Callable[[str], str], arguments: str, printed: str):
    """
    Each command sends its request, and prints the response.
    """
    assert printed in printed_by(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        "apps list",
        "apps runners app",
        "apps scale app --keep-alive 1",
        "apps rollout app",
    ],
)
def test_responses_are_printed_as_json(printed_by: Callable[[str], str], arguments: str):
    """
    Every command prints JSON with ``--json``.
    """
    assert json.loads(printed_by(f"{arguments} --json"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
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
def test_wrong_command_line_is_refused(
    refused: Callable[..., str], arguments: tuple[str, ...], told: str
):
    """
    The error says what to give instead.
    """
    assert told in refused(*arguments)
