"""Deploying applications of a project."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fal_core.errors import OptionError
from fal_host_serverless import SyncServerlessClient
from fal_host_serverless import deploy as deploying

PROJECT = """
[tool.fal.apps.search]
ref = "searching.py::Search"
auth = "public"
deployment_strategy = "recreate"
keep_alive = 30

[tool.fal.apps.double]
ref = "searching.py::double"
no_scale = true
"""


def test_applications_of_a_project_are_deployed(
    asking: SyncServerlessClient, recorder: Any, project: Path
):
    """A name refers to pyproject.toml, whose options replace those of the class."""
    (project / "pyproject.toml").write_text(PROJECT)
    asking.deploy("search")
    request = recorder.last("RegisterApplication")
    assert (request.auth_mode, request.deployment_strategy) == (1, 0)
    assert request.machine_requirements.keep_alive == 30
    asking.deploy("double")
    assert not recorder.last("RegisterApplication").scale
    with pytest.raises(OptionError, match="Name one: search, double"):
        asking.deploy()
    with pytest.raises(OptionError, match="declares no application 'other'"):
        asking.deploy("other")


def test_team_of_a_project_is_that_of_its_deployment(
    run: Callable[..., int],
    asking: SyncServerlessClient,
    recorder: Any,
    project: Path,
    capsys: Any,
):
    """The team of a project is used unless the client names one; a key ignores it with a warning."""
    (project / "pyproject.toml").write_text(f"{PROJECT}\nteam = 'acme'\n")
    assert run("deploy", "double", "--dry-run") == 0
    printed = capsys.readouterr()
    assert "Team: acme" in printed.out
    assert "Team 'acme' is ignored: a key belongs to one account" in printed.err
    other = SyncServerlessClient(host=recorder.address, team="others")
    assert deploying.prepare(other, "double").team == "others"
    assert deploying.prepare(asking, "search").team is None
