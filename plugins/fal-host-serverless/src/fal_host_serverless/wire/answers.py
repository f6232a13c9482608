"""Messages of the service, read as documented values."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import attrs

from fal_host_serverless.values import (
    AliasInfo,
    DeploymentInfo,
    EnvironmentInfo,
    KeyScope,
    RevisionInfo,
    RunnerInfo,
    RunnerState,
    ServerlessSecret,
    ServiceURLs,
    UserKeyInfo,
)


def read_alias(message: Any) -> AliasInfo:
    """Return the application that *message* describes."""
    from fal_host_serverless.wire.protocol import isolate_proto

    plain = (
        *("alias", "revision", "keep_alive", "max_concurrency", "max_multiplexing"),
        *("active_runners", "min_concurrency", "concurrency_buffer", "concurrency_buffer_perc"),
        *("request_timeout", "startup_timeout"),
    )
    return AliasInfo(
        **{name: getattr(message, name) for name in plain},
        auth_mode=isolate_proto.ApplicationAuthMode.Name(message.auth_mode).lower(),
        scaling_delay=message.scaling_delay_seconds,
        machine_types=list(message.machine_types),
        valid_regions=list(message.valid_regions),
        environment_name=_optional(message, "environment_name"),
        request_start_timeout=_optional(message, "request_start_timeout"),
    )


def read_revision(message: Any) -> RevisionInfo:
    """Return the revision that *message* describes."""
    return RevisionInfo(
        revision=message.application_id,
        created_at=_moment(message.created_at),
        active_runners=message.active_runners,
        machine_types=list(message.machine_types),
        environment_name=_optional(message, "environment_name"),
    )


def read_deployment(told: Mapping[str, Any]) -> DeploymentInfo:
    """Return the deployment that an object of JSON describes."""
    names = {each.name for each in attrs.fields(DeploymentInfo)}
    facts = {name: value for name, value in told.items() if name in names}
    for name in ("created_at", "ended_at"):
        if facts.get(name) is not None:
            facts[name] = datetime.fromisoformat(facts[name])
    return DeploymentInfo(**facts)


def read_runner(message: Any) -> RunnerInfo:
    """Return the runner that *message* describes."""
    from google.protobuf.json_format import MessageToDict

    kind = type(message)
    state = kind.State.Name(message.state)
    return RunnerInfo(
        runner_id=message.runner_id,
        in_flight_requests=message.in_flight_requests,
        expiration_countdown=_optional(message, "expiration_countdown"),
        uptime=timedelta(seconds=message.uptime),
        external_metadata=MessageToDict(message.external_metadata),
        revision=message.revision,
        alias=message.alias,
        state=RunnerState("CRASH_BACKOFF" if state == "FAILURE_DELAY" else state),
        machine_type=message.machine_type,
        replacement=kind.ReplaceState.Name(message.replacement),
    )


def read_key(message: Any) -> UserKeyInfo:
    """Return the key that *message* describes."""
    from fal_host_serverless.wire.protocol import isolate_proto

    scopes = isolate_proto.CreateUserKeyRequest.Scope
    known = message.scope in scopes.values()
    scope = KeyScope(scopes.Name(message.scope)) if known else None
    return UserKeyInfo(message.key_id, _moment(message.created_at), scope, message.alias)


def read_secret(message: Any) -> ServerlessSecret:
    """Return the secret that *message* describes."""
    return ServerlessSecret(
        message.name,
        _moment(message.created_time),
        _optional(message, "environment_name"),
        _optional(message, "default_exposed"),
    )


def read_stage(message: Any) -> EnvironmentInfo:
    """Return the stage that *message* describes."""
    return EnvironmentInfo(
        message.name,
        _optional(message, "description"),
        message.is_default,
        _moment(message.created_at),
    )


def read_service_urls(message: Any) -> ServiceURLs:
    """Return the URLs that *message* lists."""
    return ServiceURLs(message.playground, message.run, message.queue, message.ws, message.log)


def _moment(timestamp: Any) -> datetime:
    found: datetime = timestamp.ToDatetime(tzinfo=timezone.utc)
    return found


def _optional(message: Any, name: str) -> Any:
    return getattr(message, name) if message.HasField(name) else None
