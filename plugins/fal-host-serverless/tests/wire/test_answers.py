"""Messages of the service, read as documented values."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import isolate_proto
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from fal_host_serverless.values import (
    EnvironmentInfo,
    KeyScope,
    RunnerState,
    ServerlessSecret,
    ServiceURLs,
)
from fal_host_serverless.wire import answers

MOMENT = datetime(2031, 2, 3, 4, 5, tzinfo=timezone.utc)

STAMP = Timestamp()
STAMP.FromDatetime(MOMENT)


@pytest.mark.parametrize("name", isolate_proto.RunnerInfo.State.keys())
def test_every_state_of_a_runner_is_known(name: str):
    """A state has the name of the protocol, except for the one that fal's SDK calls otherwise."""
    state = isolate_proto.RunnerInfo.State.Value(name)
    runner = answers.read_runner(isolate_proto.RunnerInfo(state=state))
    expected = "CRASH_BACKOFF" if name == "FAILURE_DELAY" else name
    assert runner.state is RunnerState(expected)


def test_runner_is_read_with_all_of_its_facts():
    """Times are spans, metadata is plain, and a runner that does not expire has no countdown."""
    kind = isolate_proto.RunnerInfo
    message = kind(
        runner_id="r",
        uptime=1.5,
        revision="rev",
        in_flight_requests=2,
        replacement=kind.ReplaceState.WILL_REPLACE,
    )
    message.external_metadata.update({"group": {"present": True}})
    runner = answers.read_runner(message)
    assert (runner.runner_id, runner.revision, runner.in_flight_requests) == ("r", "rev", 2)
    assert runner.uptime == timedelta(seconds=1.5)
    assert runner.external_metadata == {"group": {"present": True}}
    assert runner.expiration_countdown is None
    assert runner.replacement == "WILL_REPLACE"
    message.expiration_countdown = 0
    assert answers.read_runner(message).expiration_countdown == 0


def test_optional_fields_of_an_application_may_be_absent():
    """A limit of 0 is none that was set, and differs from one that is absent."""
    alias = answers.read_alias(isolate_proto.AliasInfo(alias="app", machine_types=["S"]))
    assert (alias.auth_mode, alias.machine_types) == ("private", ["S"])
    assert (alias.environment_name, alias.request_start_timeout) == (None, None)
    message = isolate_proto.AliasInfo(request_start_timeout=0, environment_name="staging")
    alias = answers.read_alias(message)
    assert (alias.environment_name, alias.request_start_timeout) == ("staging", 0)


def test_scope_that_is_none_of_the_known_is_none():
    """A newer service may have scopes that this client does not know."""
    scopes = isolate_proto.CreateUserKeyRequest.Scope
    for number, scope in (
        (scopes.ADMIN, KeyScope.ADMIN),
        (scopes.API, KeyScope.API),
        (77, None),
    ):
        message = isolate_proto.UserKeyInfo(key_id="k", created_at=STAMP, scope=number)
        key = answers.read_key(message)
        assert (key.scope, key.created_at) == (scope, MOMENT)


def test_secrets_and_stages_are_read_with_what_they_have():
    """Whether a secret is exposed is known, or left to the account."""
    secret = isolate_proto.Secret(name="TOKEN", created_time=STAMP)
    assert answers.read_secret(secret) == ServerlessSecret("TOKEN", MOMENT, None, None)
    secret = isolate_proto.Secret(
        name="TOKEN", created_time=STAMP, environment_name="staging", default_exposed=False
    )
    assert answers.read_secret(secret) == ServerlessSecret("TOKEN", MOMENT, "staging", False)
    stage = isolate_proto.EnvironmentInfo(name="main", is_default=True, created_at=STAMP)
    assert answers.read_stage(stage) == EnvironmentInfo("main", None, True, MOMENT)


def test_urls_are_read_by_their_use():
    """Each URL keeps its place."""
    names = ("playground", "run", "queue", "ws", "log")
    message = isolate_proto.ServiceURLs(**{name: f"https://{name}.test" for name in names})
    expected = ServiceURLs(**{name: f"https://{name}.test" for name in names})
    assert answers.read_service_urls(message) == expected
