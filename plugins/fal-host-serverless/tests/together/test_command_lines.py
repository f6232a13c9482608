"""
Every command, right and wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fal_host_serverless import SyncServerlessClient

pytestmark = pytest.mark.usefixtures("recorder", "rest")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("deploy",), "No application is given"),
        (("deploy", "nobody.py::look"), "There is no file nobody.py"),
        (("deploy", "looking.py::nothing"), "There is no 'nothing' in looking.py"),
        (("deploy", "search"), "'search' names no file"),
        (
            ("deploy", "looking.py::look", "--attach", "--strategy", "recreate"),
            "Only a rolling deployment can be attached to",
        ),
        (("keys", "create", "--preset", "none"), "The preset of a key must be 'full'"),
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
    run_beside: Callable[..., tuple[int, str]],
    recorder: Any,
    arguments: tuple[str, ...],
    told: str,
):
    """
    A wrong command line exits with 2 and the reason, and sends no request.
    """
    code, errors = run_beside(*arguments)
    assert code == 2
    assert told in errors
    assert f"Usage: fal-core {arguments[0]}" in errors
    assert recorder.asked == []


@pytest.mark.parametrize("command", ["size", "flush"])
def test_queue_of_no_application(run_beside: Callable[..., tuple[int, str]], command: str):
    """
    The error for an unknown application says how to list them.
    """
    code, errors = run_beside("queue", command, "nope")
    assert code == 1
    assert errors.endswith(
        "Application 'nope' was not found. 'fal-core apps list' lists the applications, and "
        "with '--env' those of another stage."
    )


def test_file_that_cannot_be_loaded(run_beside: Callable[..., tuple[int, str]], tmp_path: Path):
    """
    An error in the application's file is no usage error.
    """
    (tmp_path / "broken.py").write_text("raise LookupError('no weights')")
    code, errors = run_beside("deploy", "broken.py::look")
    assert code == 1
    assert "no weights" in errors


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        ("apps list", "app    shared  1"),
        ("apps list --filter other", "other"),
        ("apps rollout app", "being replaced"),
        ("apps runners app --state running", "running"),
        ("apps scale app --max-concurrency 3", "scales from 0 to 4"),
        ("runners list --since 10m", "idle"),
        ("runners stop r", "finishes its requests"),
        ("runners kill r", "is killed"),
        ("keys create --scope api", "FAL_KEY=k:s3cret"),
        ("keys create --preset deploy", "FAL_KEY=k:s3cret"),
        ("keys create --permission a:b,c:d --permission e:f", "FAL_KEY=k:s3cret"),
        ("keys list", "API"),
        ("keys revoke k", "is revoked"),
        ("secrets set A=b", "Secret A is set."),
        ("secrets list", "TOKEN"),
        ("secrets unset A", "is removed"),
        ("environments list", "main"),
        ("environments create staging", "is there"),
        ("environments delete staging", "is removed"),
        ("queue size app", "3"),
        ("queue flush app", "is empty"),
    ],
)
def test_commands(
    run: Callable[..., int],
    arguments: str,
    printed: str,
    asking: SyncServerlessClient,
    capsys: Any,
):
    """
    Each command sends its request, and prints the response.
    """
    assert run(*arguments.split()) == 0
    assert printed in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        *("apps list", "apps runners app", "apps scale app --keep-alive 1", "runners list"),
        *("keys list", "keys create --scope api", "secrets list", "environments list"),
        *("queue size app", "queue flush app", "apps rollout app", "runners stop r"),
        *("runners kill r", "keys revoke k", "secrets set A=b B=c", "secrets unset A"),
        *("environments create e", "environments delete e"),
    ],
)
def test_commands_print_json(
    run: Callable[..., int], arguments: str, asking: SyncServerlessClient, capsys: Any
):
    """
    Every command prints JSON with ``--json``.
    """
    assert run(*arguments.split(), "--json") == 0
    assert json.loads(capsys.readouterr().out)


def test_flags_reach_the_service(
    run: Callable[..., int], asking: SyncServerlessClient, recorder: Any
):
    """
    Flags for permissions and for exposed secrets are sent as they are given.
    """
    assert run("keys", "create", "--permission", "a:b, c:d", "--permission", "e:f") == 0
    request = recorder.last("CreateUserKey")
    assert list(request.policy.permissions) == ["a:b", "c:d", "e:f"]
    assert run("keys", "create") == 2
    assert run("keys", "create", "--scope", "api", "--preset", "full") == 2
    assert run("keys", "create", "--preset", "none") == 2
    for flag, exposed in (("--not-exposed-by-default", False), ("--exposed-by-default", True)):
        assert run("secrets", "set", "A=b", flag) == 0
        request = recorder.last("SetSecret")
        assert request.HasField("default_exposed")
        assert request.default_exposed is exposed
    assert run("secrets", "set", "A=b") == 0
    assert not recorder.last("SetSecret").HasField("default_exposed")
