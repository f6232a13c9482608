"""Operations on applications and runners."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from fal_core.errors import OptionError
from fal_host_serverless import AsyncServerlessClient, SyncServerlessClient
from fal_host_serverless.values import RunnerState

#: The time that the recorder gives to everything.
MOMENT = datetime(2031, 2, 3, 4, 5, tzinfo=timezone.utc)


def test_applications_are_listed(asking: SyncServerlessClient, recorder: Any):
    """Applications have all documented fields, and can be filtered by name."""
    first, second = asking.apps.list(environment_name="staging")
    assert recorder.last("ListAliases").environment_name == "staging"
    assert (first.alias, first.auth_mode, first.scaling_delay) == ("app", "shared", 3)
    assert (first.machine_types, first.valid_regions) == (["S"], ["eu"])
    assert first.request_start_timeout is None
    assert second.request_start_timeout == 7
    assert [app.alias for app in asking.apps.list(filter="oth")] == ["other"]


def test_scaling_sends_changes_alone(asking: SyncServerlessClient, recorder: Any):
    """Settings that are not named are not sent, and so stay as they are."""
    asking.apps.scale("app", max_concurrency=10, scaling_delay=5, regions=["eu", "us"])
    request = recorder.last("UpdateApplication")
    assert request.application_name == "app"
    assert request.max_concurrency == 10
    assert request.scaling_delay_seconds == 5
    assert list(request.valid_regions) == ["eu", "us"]
    assert not request.HasField("keep_alive")
    asking.apps.scale("app", request_start_timeout=0, environment_name="staging")
    request = recorder.last("UpdateApplication")
    assert request.HasField("request_start_timeout")
    assert request.application_name == "app--staging"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"machine_types": "GPU-H100"}, r"'machine_types' must be a list of names.*'GPU-H100'"),
        ({"machine_types": [3]}, "'machine_types' must be a list of names"),
        ({"regions": "us-east"}, "'regions' must be a list of names"),
        ({"keep_alive": 1.5}, "'keep_alive' must be a whole number.*1.5"),
        ({"keep_alive": "5"}, "whole number"),
        ({"max_concurrency": -1}, "whole number"),
        ({"max_concurrency": True}, "whole number"),
        ({"max_concurrency": 1 << 31}, "whole number"),
    ],
)
def test_wrong_scaling_is_refused(
    changes: dict[str, Any], words: str, asking: SyncServerlessClient, recorder: Any
):
    """A value that does not fit its field is refused before a request is sent."""

    async def ask() -> None:
        async with AsyncServerlessClient(host=recorder.address) as other:
            await other.apps.scale("app", **changes)

    with pytest.raises(OptionError, match=words):
        asking.apps.scale("app", **changes)
    with pytest.raises(OptionError, match=words):
        asyncio.run(ask())
    assert recorder.asked == []


def test_runners_are_listed_by_state(asking: SyncServerlessClient, recorder: Any):
    """Runners can be filtered by their state; ``terminated`` includes ``dead``."""
    found = asking.apps.runners("app", since=MOMENT)
    assert [runner.state for runner in found] == [
        RunnerState.RUNNING,
        RunnerState.CRASH_BACKOFF,
        RunnerState.DEAD,
    ]
    assert found[0].uptime == timedelta(seconds=90)
    assert found[0].expiration_countdown == 5
    assert found[0].external_metadata == {"present_in_group": True}
    request = recorder.last("ListAliasRunners")
    assert request.list_pending
    assert request.start_time.ToDatetime(tzinfo=timezone.utc) == MOMENT
    assert [each.state.value for each in asking.apps.runners("app", state=["running"])] == [
        "RUNNING"
    ]
    assert [each.state.value for each in asking.apps.runners("app", state=["terminated"])] == [
        "DEAD"
    ]
    assert len(asking.apps.runners("app", state=["all"])) == 3
    with pytest.raises(OptionError, match=r"'state' must be a list of names.*not 'running'"):
        asking.apps.runners("app", state="running")


def test_runners_are_ended(asking: SyncServerlessClient, recorder: Any):
    """A runner is stopped, if wanted after its replacement has started, or killed."""
    (runner,) = asking.runners.list()
    assert runner.state is RunnerState.IDLE
    asking.runners.stop(runner.runner_id, replace_first=True)
    assert recorder.last("StopRunner").replace_first
    asking.runners.kill("r-2")
    assert recorder.last("KillRunner").runner_id == "r-2"
    asking.apps.rollout("app", force=True)
    assert recorder.last("RolloutApplication").force
