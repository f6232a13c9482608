"""
The client: what it asks, what it tells, and which errors it raises.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from datetime import datetime, timedelta, timezone
from typing import Any

import grpc
import pytest

from fal_core import function
from fal_core.errors import (
    Cancelled,
    FalServerlessError,
    InternalFalServerlessError,
    OptionError,
)
from fal_host_serverless import (
    AsyncServerlessClient,
    FalServerlessHost,
    KeyPreset,
    KeyScope,
    SyncServerlessClient,
    client,
    client_aio,
)
from fal_host_serverless.values import RunnerState

MOMENT = datetime(2031, 2, 3, 4, 5, tzinfo=timezone.utc)


@pytest.fixture
def asking(recorder: Any) -> SyncServerlessClient:
    """
    A client of the recorder.
    """
    return SyncServerlessClient(host=recorder.address)


def test_applications_are_listed(asking: SyncServerlessClient, recorder: Any):
    """
    Applications come with all that is documented, and can be filtered.
    """
    first, second = asking.apps.list(environment_name="staging")
    assert recorder.last("ListAliases").environment_name == "staging"
    assert (first.alias, first.auth_mode, first.scaling_delay) == ("app", "shared", 3)
    assert (first.machine_types, first.valid_regions) == (["S"], ["eu"])
    assert first.request_start_timeout is None
    assert second.request_start_timeout == 7
    assert [app.alias for app in asking.apps.list(filter="oth")] == ["other"]


def test_scaling_sends_what_changes(asking: SyncServerlessClient, recorder: Any):
    """
    What is not named is not sent, so that it stays as it is.
    """
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
        ({"machine_types": "GPU-H100"}, r"'machine_types' is a list of names.*'GPU-H100'"),
        ({"machine_types": [3]}, "'machine_types' is a list of names"),
        ({"regions": "us-east"}, "'regions' is a list of names"),
        ({"keep_alive": 1.5}, "'keep_alive' is a whole number.*1.5"),
        ({"keep_alive": "5"}, "whole number"),
        ({"max_concurrency": -1}, "whole number"),
        ({"max_concurrency": True}, "whole number"),
        ({"max_concurrency": 1 << 31}, "whole number"),
    ],
)
def test_scaling_that_cannot_be_is_told(
    changes: dict[str, Any], words: str, asking: SyncServerlessClient, recorder: Any
):
    """
    A value that the service cannot be asked for is an error before it is asked.
    """

    async def ask() -> None:
        async with AsyncServerlessClient(host=recorder.address) as other:
            await other.apps.scale("app", **changes)

    with pytest.raises(OptionError, match=words):
        asking.apps.scale("app", **changes)
    with pytest.raises(OptionError, match=words):
        asyncio.run(ask())
    assert recorder.asked == []


def test_sequences_of_names_are_lists(asking: SyncServerlessClient, recorder: Any):
    """
    Names may stand in a tuple.
    """
    asking.apps.scale("app", machine_types=("S", "M"), regions=())
    request = recorder.last("UpdateApplication")
    assert (list(request.machine_types), list(request.valid_regions)) == (["S", "M"], [])


def test_time_without_a_zone_is_local(
    asking: SyncServerlessClient, recorder: Any, monkeypatch: pytest.MonkeyPatch
):
    """
    ``datetime.now() - timedelta(...)`` is the moment that it looks like.
    """
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        since = MOMENT.astimezone().replace(tzinfo=None)
        assert since != MOMENT.replace(tzinfo=None)
        asking.runners.list(since=since)
        asking.apps.runners("app", since=since)
    finally:
        monkeypatch.undo()
        time.tzset()
    for rpc in ("ListRunners", "ListAliasRunners"):
        told = recorder.last(rpc).start_time
        assert told.ToDatetime(tzinfo=timezone.utc) == MOMENT
    for ask in (asking.runners.list, functools.partial(asking.apps.runners, "app")):
        with pytest.raises(OptionError, match="'since' is a datetime, not '10m'"):
            ask(since="10m")  # type: ignore[operator]  # wrong on purpose


def test_variable_names_the_environment_everywhere(
    asking: SyncServerlessClient,
    recorder: Any,
    rest: Any,
    monkeypatch: pytest.MonkeyPatch,
):
    """
    What FAL_ENV names is where every question is about, unless one names another.
    """
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


def test_runners_are_listed_by_state(asking: SyncServerlessClient, recorder: Any):
    """
    Runners can be asked for by their state; those that are gone by either of its names.
    """
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


def test_runners_are_ended(asking: SyncServerlessClient, recorder: Any):
    """
    A runner is stopped, with another one before it if that is wanted, or killed.
    """
    (runner,) = asking.runners.list()
    assert runner.state is RunnerState.IDLE
    asking.runners.stop(runner.runner_id, replace_first=True)
    assert recorder.last("StopRunner").replace_first
    asking.runners.kill("r-2")
    assert recorder.last("KillRunner").runner_id == "r-2"
    asking.apps.rollout("app", force=True)
    assert recorder.last("RolloutApplication").force


def test_keys(asking: SyncServerlessClient, recorder: Any):
    """
    A key is created with the preset that its scope stands for.
    """
    assert asking.keys.create(scope=KeyScope.ADMIN, description="mine") == ("k", "s3cret")
    request = recorder.last("CreateUserKey")
    assert (request.policy_preset, request.alias) == ("FULL", "mine")
    assert not request.HasField("scope")
    asking.keys.create(scope="api")
    assert recorder.last("CreateUserKey").policy_preset == "API"
    asking.keys.create(preset=KeyPreset.DEPLOY)
    assert recorder.last("CreateUserKey").policy_preset == "DEPLOY"
    asking.keys.create(preset="readonly")
    assert recorder.last("CreateUserKey").policy_preset == "READONLY"
    asking.keys.create(permissions=["serverless:apps:run", "models:requests:submit"])
    request = recorder.last("CreateUserKey")
    assert list(request.policy.permissions) == ["serverless:apps:run", "models:requests:submit"]
    assert not request.HasField("policy_preset")
    (key,) = asking.keys.list()
    assert (key.key_id, key.scope, key.created_at) == ("k", KeyScope.API, MOMENT)
    asking.keys.revoke("k")
    assert recorder.last("RevokeUserKey").key_id == "k"


@pytest.mark.parametrize(
    ("grant", "words"),
    [
        ({"scope": "all"}, "'admin' or 'api'"),
        ({"preset": "all"}, "'full', 'api', .* or 'agent', not 'all'"),
        ({"permissions": "models"}, "list of names"),
        ({"permissions": [""]}, "list of names"),
        ({"permissions": []}, "could do nothing"),
        ({}, "one of 'scope', 'preset' and 'permissions'"),
        ({"scope": "api", "preset": "api"}, "one of 'scope', 'preset' and 'permissions'"),
    ],
)
def test_key_that_cannot_be_is_told(
    grant: dict[str, Any], words: str, asking: SyncServerlessClient, recorder: Any
):
    """
    A key is of one scope, of one preset, or has permissions.
    """
    with pytest.raises(OptionError, match=words):
        asking.keys.create(**grant)
    assert recorder.asked == []


def test_secrets(asking: SyncServerlessClient, recorder: Any):
    """
    A secret without a value is removed.
    """
    asking.secrets.set("TOKEN", "value", "staging", default_exposed=False)
    request = recorder.last("SetSecret")
    assert (request.name, request.value, request.environment_name) == (
        "TOKEN",
        "value",
        "staging",
    )
    assert request.HasField("default_exposed")
    asking.secrets.unset("TOKEN")
    assert not recorder.last("SetSecret").HasField("value")
    (secret,) = asking.secrets.list()
    assert (secret.name, secret.created_at, secret.default_exposed) == ("TOKEN", MOMENT, None)


def test_environments(asking: SyncServerlessClient, recorder: Any):
    """
    Environments of the service are listed, created and removed.
    """
    made = asking.environments.create("staging", "for tests")
    assert (made.name, made.description, made.is_default) == ("staging", "for tests", False)
    (main,) = asking.environments.list()
    assert (main.name, main.description, main.is_default) == ("main", None, True)
    asking.environments.delete("staging")
    assert recorder.last("DeleteEnvironment").name == "staging"


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        ("UNAUTHENTICATED", FalServerlessError, "credentials are not accepted: why"),
        ("PERMISSION_DENIED", FalServerlessError, "do not allow it: why"),
        ("NOT_FOUND", FalServerlessError, "not found: why"),
        ("ALREADY_EXISTS", FalServerlessError, "there already: why"),
        ("UNIMPLEMENTED", FalServerlessError, "does not offer it: why"),
        ("INVALID_ARGUMENT", FalServerlessError, "^why$"),
        ("INTERNAL", InternalFalServerlessError, "^why$"),
        ("UNKNOWN", InternalFalServerlessError, "^why$"),
        ("CANCELLED", Cancelled, "cancelled"),
    ],
)
def test_errors_are_told_by_their_status(
    status: str,
    kind: type[Exception],
    words: str,
    asking: SyncServerlessClient,
    recorder: Any,
):
    """
    What the service answers instead is a documented error, caused by the answer.
    """
    recorder.failure = (grpc.StatusCode[status], "why")
    with pytest.raises(kind, match=words) as caught:
        asking.runners.kill("r")
    assert isinstance(caught.value.__cause__, grpc.RpcError)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("NOT_FOUND", "Runner 'r' was not found."),
        ("ALREADY_EXISTS", "There is a runner 'r' already."),
    ],
)
def test_what_the_service_says_is_not_said_before(
    status: str, words: str, asking: SyncServerlessClient, recorder: Any
):
    """
    Words of the service that say what their status does are told alone.
    """
    recorder.failure = (grpc.StatusCode[status], words)
    with pytest.raises(FalServerlessError) as caught:
        asking.runners.kill("r")
    assert str(caught.value) == words


def test_what_runs_code_is_sent_once(asking: SyncServerlessClient, recorder: Any):
    """
    A question is asked again where the service is away; a run is not, since it may
    have begun.
    """
    recorder.failure = (grpc.StatusCode.UNAVAILABLE, "away")
    with pytest.raises(FalServerlessError, match="cannot be reached"):
        asking.keys.list()
    assert len(recorder.asked) > 1
    recorder.asked.clear()

    @function("virtualenv", host=FalServerlessHost(recorder.address))
    def nothing() -> None:
        return None

    with pytest.raises(FalServerlessError, match="cannot be reached"):
        nothing()
    assert len(recorder.asked) == 1


def test_service_that_is_not_there_is_told():
    """
    An address that nothing listens at is named in the error.
    """
    with pytest.raises(FalServerlessError, match=r"127\.0\.0\.1:1 cannot be reached"):
        SyncServerlessClient(host="127.0.0.1:1").runners.kill("r")


def test_asynchronous_client_asks_the_same(asking: SyncServerlessClient, recorder: Any):
    """
    Both clients send the same requests and give the same values.
    """

    async def ask() -> list[Any]:
        async with AsyncServerlessClient(host=recorder.address) as other:
            return [
                await other.apps.list(filter="app"),
                await other.apps.runners("app", state=["running"]),
                await other.apps.scale("app", keep_alive=5),
                await other.apps.rollout("app"),
                await other.runners.list(),
                await other.runners.stop("r"),
                await other.runners.kill("r"),
                await other.keys.create(scope=KeyScope.API),
                await other.keys.list(),
                await other.keys.revoke("k"),
                await other.secrets.set("a", "b"),
                await other.secrets.list(),
                await other.secrets.unset("a"),
                await other.environments.create("e"),
                await other.environments.list(),
                await other.environments.delete("e"),
            ]

    told = asyncio.run(ask())
    theirs, recorder.asked = recorder.asked, []
    assert told == [
        asking.apps.list(filter="app"),
        asking.apps.runners("app", state=["running"]),
        asking.apps.scale("app", keep_alive=5),
        asking.apps.rollout("app"),
        asking.runners.list(),
        asking.runners.stop("r"),
        asking.runners.kill("r"),
        asking.keys.create(scope=KeyScope.API),
        asking.keys.list(),
        asking.keys.revoke("k"),
        asking.secrets.set("a", "b"),
        asking.secrets.list(),
        asking.secrets.unset("a"),
        asking.environments.create("e"),
        asking.environments.list(),
        asking.environments.delete("e"),
    ]
    assert theirs == recorder.asked


def test_asynchronous_client_raises_the_same(recorder: Any):
    """
    Errors of the service are translated for the asynchronous client too.
    """
    recorder.failure = (grpc.StatusCode.NOT_FOUND, "why")

    async def ask() -> None:
        async with AsyncServerlessClient(host=recorder.address) as other:
            await other.runners.kill("r")

    with pytest.raises(FalServerlessError, match="not found: why"):
        asyncio.run(ask())


@pytest.mark.parametrize("name", ["Apps", "Runners", "Keys", "Secrets", "Environments"])
def test_clients_have_the_same_methods(name: str):
    """
    What one client can be asked, the other can, by the same arguments.
    """

    def methods(cls: type) -> set[str]:
        found = inspect.getmembers(cls, inspect.isfunction)
        return {method for method, _ in found if not method.startswith("_")}

    one, other = getattr(client, f"{name}Namespace"), getattr(client_aio, f"Async{name}")
    assert methods(one) == methods(other)
    for method in methods(one):
        signatures = [inspect.signature(getattr(cls, method)) for cls in (one, other)]
        assert signatures[0].parameters == signatures[1].parameters, method


def test_trace_of_the_caller_goes_along(recorder: Any):
    """
    What is called within a span is called with its trace.
    """
    from opentelemetry.sdk.trace import TracerProvider

    @function("virtualenv", host=FalServerlessHost(recorder.address))
    def nothing() -> None:
        return None

    tracer = TracerProvider().get_tracer("test")
    with (
        tracer.start_as_current_span("outer") as span,
        pytest.raises(InternalFalServerlessError),
    ):
        nothing()
    context = span.get_span_context()
    told = recorder.metadata[-1]["traceparent"]
    assert told.startswith(f"00-{context.trace_id:032x}-{context.span_id:016x}-")
