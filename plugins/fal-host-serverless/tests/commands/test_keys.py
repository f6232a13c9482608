"""The command ``keys``."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from fal_host_serverless import SyncServerlessClient


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        ("keys create --scope api", "FAL_KEY=k:s3cret"),
        ("keys create --preset deploy", "FAL_KEY=k:s3cret"),
        ("keys create --permission a:b,c:d --permission e:f", "FAL_KEY=k:s3cret"),
        ("keys list", "API"),
        ("keys revoke k", "is revoked"),
    ],
)
def test_responses_are_printed(printed_by: Callable[[str], str], arguments: str, printed: str):
    """Each command sends its request, and prints the response."""
    assert printed in printed_by(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        "keys list",
        "keys create --scope api",
        "keys revoke k",
    ],
)
def test_responses_are_printed_as_json(printed_by: Callable[[str], str], arguments: str):
    """Every command prints JSON with ``--json``."""
    assert json.loads(printed_by(f"{arguments} --json"))


def test_wrong_command_line_is_refused(refused: Callable[..., str]):
    """The error says what to give instead."""
    assert "The preset of a key must be 'full'" in refused("keys", "create", "--preset", "none")


def test_permissions_reach_the_service(
    run: Callable[..., int], asking: SyncServerlessClient, recorder: Any
):
    """Permissions are sent as they are given; a key without exactly one grant is refused."""
    assert run("keys", "create", "--permission", "a:b, c:d", "--permission", "e:f") == 0
    request = recorder.last("CreateUserKey")
    assert list(request.policy.permissions) == ["a:b", "c:d", "e:f"]
    assert run("keys", "create") == 2
    assert run("keys", "create", "--scope", "api", "--preset", "full") == 2
    assert run("keys", "create", "--preset", "none") == 2
