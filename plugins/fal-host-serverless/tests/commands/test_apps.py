"""The command ``apps``."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click
import pytest

from fal_host_serverless.commands.apps import apps


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
    """Each command sends its request, and prints the response."""
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
    """Every command prints JSON with ``--json``."""
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
    """The error says what to give instead."""
    assert told in refused(*arguments)


@pytest.mark.parametrize("option", ["--stage", "--env"])
def test_stage_that_does_not_exist_is_an_error(
    run: Callable[..., int], asking: Any, capsys: Any, option: str
):
    """A list is empty where the stage is mistyped: the error names those that there are."""
    assert run("apps", "list", "--filter", "no-such", option, "main") == 0
    assert capsys.readouterr().out == "No application is deployed.\n"
    assert run("apps", "list", "--filter", "no-such", option, "nope") == 1
    assert "Error: There is no stage 'nope'. Yours: main." in capsys.readouterr().err


def test_names_of_applications_are_candidates(asking: Any):
    """A shell completes the names of deployed applications; none where the service has none."""
    command = apps.commands["rollout"]
    context = click.Context(command)
    found = command.params[0].shell_complete(context, "ap")
    assert [item.value for item in found] == ["app"]


def test_service_that_cannot_be_asked_has_no_candidates(monkeypatch: pytest.MonkeyPatch):
    """A shell is told of no error."""
    monkeypatch.setenv("FAL_CONFIG_PATH", "/dev/null")
    monkeypatch.delenv("FAL_KEY", raising=False)
    context = click.Context(apps.commands["rollout"])
    context.params["address"] = "127.0.0.1:1"
    assert apps.commands["rollout"].params[0].shell_complete(context, "ap") == []


def test_names_of_other_command_lines_are_not_shown(printed_by: Callable[[str], str]):
    """The help has one name for each option."""
    printed = printed_by("apps list --help")
    assert "--stage NAME" in printed
    assert "--address ADDRESS" in printed
    assert "--env" not in printed
    assert "--host" not in printed
