"""The address of the service, and the current stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fal_core.errors import FalServerlessError
from fal_host_serverless import FalServerlessHost, SyncServerlessClient
from fal_host_serverless.account import addresses


def test_variable_names_the_stage_everywhere(
    asking: SyncServerlessClient,
    recorder: Any,
    rest: Any,
    monkeypatch: pytest.MonkeyPatch,
):
    """FAL_ENV names the stage of every operation, unless an argument names another."""
    from fal_host_serverless.queues import flush_queue, queue_size

    monkeypatch.setenv("FAL_ENV", "staging")
    rest.queues["me/app--staging"] = 7
    asking.apps.list()
    asking.apps.runners("app")
    asking.apps.scale("app", keep_alive=1)
    asking.apps.rollout("app")
    asking.secrets.set("A", "b")
    asking.secrets.unset("A")
    asking.secrets.list()
    assert len(recorder.asked) == 7
    for _, request in recorder.asked:
        assert request.environment_name == "staging"
        named = getattr(request, "alias", "") or getattr(request, "application_name", "")
        assert named in ("", "app--staging")
    assert queue_size(asking, "app") == 7
    asking.apps.scale("app", keep_alive=1, environment_name="main")
    request = recorder.last("UpdateApplication")
    assert (request.application_name, request.environment_name) == ("app", "main")
    assert queue_size(asking, "app", "main") == 3
    flush_queue(asking, "app")
    assert rest.queues == {"me/app": 3, "me/app--staging": 0}


def test_variables_say_where_the_service_is(config: Path, monkeypatch: pytest.MonkeyPatch):
    """The address is looked up in this order: argument, variables, profile."""
    monkeypatch.delenv("ISOLATE_TEST_MODE")
    assert addresses.find_address() == "api.work.test"
    monkeypatch.setenv("FAL_HOST", "api.other.test")
    assert addresses.find_address() == "api.other.test"
    monkeypatch.setenv("FAL_HOST", "other.test")
    with pytest.raises(FalServerlessError, match="FAL_GRPC_HOST"):
        addresses.find_address()
    monkeypatch.setenv("FAL_GRPC_HOST", "localhost:1")
    assert FalServerlessHost().address == "localhost:1"
    assert FalServerlessHost("localhost:2").address == "localhost:2"
