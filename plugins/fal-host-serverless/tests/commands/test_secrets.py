"""The command ``secrets``."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from fal_host_serverless import SyncServerlessClient


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        ("secrets set A=b", "Secret A is set."),
        ("secrets list", "TOKEN"),
        ("secrets unset A", "is removed"),
    ],
)
def test_responses_are_printed(printed_by: Callable[[str], str], arguments: str, printed: str):
    """Each command sends its request, and prints the response."""
    assert printed in printed_by(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        "secrets list",
        "secrets set A=b B=c",
        "secrets unset A",
    ],
)
def test_responses_are_printed_as_json(printed_by: Callable[[str], str], arguments: str):
    """Every command prints JSON with ``--json``."""
    assert json.loads(printed_by(f"{arguments} --json"))


def test_wrong_command_line_is_refused(refused: Callable[..., str]):
    """The error says what to give instead."""
    assert "'=word' names no secret" in refused("secrets", "set", "=word")


def test_exposure_reaches_the_service(
    run: Callable[..., int], asking: SyncServerlessClient, recorder: Any
):
    """The flag of a secret is sent as it is given, and left out by default."""
    for flag, exposed in (("--not-exposed-by-default", False), ("--exposed-by-default", True)):
        assert run("secrets", "set", "A=b", flag) == 0
        request = recorder.last("SetSecret")
        assert request.HasField("default_exposed")
        assert request.default_exposed is exposed
    assert run("secrets", "set", "A=b") == 0
    assert not recorder.last("SetSecret").HasField("default_exposed")
