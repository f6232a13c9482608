"""Deployments: their requests and results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from fal_core.errors import OptionError
from fal_core.options import Options
from fal_host_serverless import FalServerlessHost, SyncServerlessClient
from fal_host_serverless import deploy as deploying


def test_application_of_a_file_is_deployed(
    asking: SyncServerlessClient, recorder: Any, rest: Any, project: Path
):
    """The environment is built, files are uploaded, and the application is registered."""
    result = asking.deploy("searching.py::Search", environment_name="staging")
    assert [name for name, _ in recorder.asked] == ["BuildEnvironment", "RegisterApplication"]
    request = recorder.last("RegisterApplication")
    assert request.application_name == "search--staging"
    assert request.environment_name == "staging"
    assert request.auth_mode == 2
    assert request.deployment_strategy == 1
    assert not request.scale
    assert request.HasField("build_environment")
    assert not request.build_environment
    assert request.machine_requirements.keep_alive == 120
    assert request.machine_requirements.exposed_port == 8080
    assert request.machine_requirements.metrics_port == 9090
    assert request.source_code == (project / "searching.py").read_text()
    assert "/find" in MessageToDict(request.metadata)["openapi"]["paths"]
    (file,) = request.files
    assert file.relative_path == "data/words.txt"
    assert rest.files[file.hash] == b"one two"
    assert result == deploying.DeploymentResult(
        revision="rev-1",
        app_name="search",
        urls={
            "playground": {
                "/": "https://fal.test/models/me/app/",
                "/find": "https://fal.test/models/me/app/find",
            },
            "sync": {
                "/": "https://run.fal.test/me/app/",
                "/find": "https://run.fal.test/me/app/find",
            },
            "async": {
                "/": "https://queue.fal.test/me/app/",
                "/find": "https://queue.fal.test/me/app/find",
            },
        },
        log_url="https://fal.test/logs/rev-1",
        auth_mode="shared",
    )


def test_function_of_a_file_is_deployed(
    asking: SyncServerlessClient, recorder: Any, project: Path
):
    """A served function is an application with one endpoint, private by default."""
    result = asking.deploy(
        "searching.py::double", app_name="twice", strategy="recreate", reset_scale=True
    )
    request = recorder.last("RegisterApplication")
    assert request.application_name == "twice"
    assert not request.HasField("auth_mode")
    assert request.deployment_strategy == 0
    assert request.scale
    assert "/" in MessageToDict(request.metadata)["openapi"]["paths"]
    assert result.auth_mode == "private"


def test_deployment_returns_the_current_auth_mode(
    asking: SyncServerlessClient, recorder: Any, project: Path
):
    """A deployment that does not set the authentication mode returns the one that is set."""
    assert asking.deploy("searching.py::double", app_name="app").auth_mode == "shared"
    assert not recorder.last("RegisterApplication").HasField("auth_mode")
    recorder.unanswered.add("ListAliases")
    result = asking.deploy("searching.py::double", app_name="app")
    assert result.auth_mode == "unchanged"
    assert result.revision == "rev-1"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"auth": "secret"}, "'auth' must be 'public', 'private', 'shared'"),
        ({"strategy": "blue"}, "'strategy' must be 'recreate'"),
    ],
)
def test_choice_that_there_is_not(
    asking: SyncServerlessClient,
    recorder: Any,
    project: Path,
    arguments: dict[str, Any],
    sentence: str,
):
    """
    A way to authorise callers, or a strategy, that there is not is refused with those that
    there are, before anything is sent.
    """
    with pytest.raises(OptionError, match=sentence):
        asking.deploy("searching.py::Search", **arguments)
    host = FalServerlessHost(recorder.address)
    registered = {
        "application_auth_mode": arguments.get("auth"),
        "deployment_strategy": arguments.get("strategy", "rolling"),
    }
    with pytest.raises(OptionError, match=sentence):
        host.register(print, Options(), **registered)
    assert recorder.asked == []
