"""
Values: what the service tells, documented.
"""

from __future__ import annotations

import enum
from datetime import datetime, timedelta, timezone
from typing import Any

import attrs

__all__ = [
    "AliasInfo",
    "EnvironmentInfo",
    "KeyPreset",
    "KeyScope",
    "RegisterApplicationResult",
    "Revision",
    "RunnerInfo",
    "RunnerState",
    "ServerlessSecret",
    "ServiceURLs",
    "UserKeyInfo",
]


class KeyScope(enum.Enum):
    """
    What a key may do: everything, or call applications.
    """

    ADMIN = "ADMIN"
    API = "API"


class KeyPreset(enum.Enum):
    """
    What a key may do, under the name that the service has for it.
    """

    FULL = "FULL"
    API = "API"
    DEPLOY = "DEPLOY"
    READONLY = "READONLY"
    BILLING = "BILLING"
    COMPUTE = "COMPUTE"
    SERVERLESS = "SERVERLESS"
    AGENT = "AGENT"


class RunnerState(enum.Enum):
    """
    What a runner is doing.
    """

    RUNNING = "RUNNING"
    PENDING = "PENDING"
    SETUP = "SETUP"
    DOCKER_PULL = "DOCKER_PULL"
    DEAD = "DEAD"
    DRAINING = "DRAINING"
    TERMINATING = "TERMINATING"
    TERMINATED = "TERMINATED"
    IDLE = "IDLE"
    CRASH_BACKOFF = "CRASH_BACKOFF"


@attrs.define
class UserKeyInfo:
    """
    A key, without its secret.

    Attributes:
        scope: None where it may do something that neither scope says.
    """

    key_id: str
    created_at: datetime
    scope: KeyScope | None
    alias: str


@attrs.define
class ServerlessSecret:
    """
    A secret, without its value.

    Attributes:
        default_exposed: Whether functions that name no secrets see it. None where
            the account decides.
    """

    name: str
    created_at: datetime
    environment_name: str | None = None
    default_exposed: bool | None = None


@attrs.define
class EnvironmentInfo:
    """
    An environment of the service: applications and secrets apart from others.
    """

    name: str
    description: str | None
    is_default: bool
    created_at: datetime


@attrs.define
class AliasInfo:
    """
    An application: a name, the revision that it leads to, and how that scales.

    Times are in seconds.
    """

    alias: str
    revision: str
    auth_mode: str
    keep_alive: int
    max_concurrency: int
    max_multiplexing: int
    active_runners: int
    min_concurrency: int
    concurrency_buffer: int
    concurrency_buffer_perc: int
    scaling_delay: int
    machine_types: list[str]
    request_timeout: int
    startup_timeout: int
    valid_regions: list[str]
    environment_name: str | None = None
    request_start_timeout: int | None = None


@attrs.define
class RunnerInfo:
    """
    A process that serves an application.

    Attributes:
        expiration_countdown: Seconds until it ends for want of requests.
    """

    runner_id: str
    in_flight_requests: int
    expiration_countdown: int | None
    uptime: timedelta
    external_metadata: dict[str, Any]
    revision: str
    alias: str
    state: RunnerState
    machine_type: str
    replacement: str = "NO_REPLACE"


@attrs.define
class ServiceURLs:
    """
    Where an application is reached, by what it is for.
    """

    playground: str
    run: str
    queue: str
    ws: str
    log: str


@attrs.define
class Revision:
    """
    What was deployed, by its id.
    """

    application_id: str


@attrs.define
class RegisterApplicationResult:
    """
    What the service says while it deploys; *result* is there once it has.
    """

    result: Revision | None
    logs: list[Any] = attrs.field(factory=list)
    service_urls: ServiceURLs | None = None


def moment(timestamp: Any) -> datetime:
    """
    Return a time of the service, with its zone.
    """
    found: datetime = timestamp.ToDatetime(tzinfo=timezone.utc)
    return found


def optional(message: Any, name: str) -> Any:
    """
    Return a field that a message may not have.
    """
    return getattr(message, name) if message.HasField(name) else None


def read_alias(message: Any) -> AliasInfo:
    """
    Return the application that *message* tells of.
    """
    import isolate_proto

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
        environment_name=optional(message, "environment_name"),
        request_start_timeout=optional(message, "request_start_timeout"),
    )


def read_runner(message: Any) -> RunnerInfo:
    """
    Return the runner that *message* tells of.
    """
    from google.protobuf.json_format import MessageToDict

    kind = type(message)
    state = kind.State.Name(message.state)
    return RunnerInfo(
        runner_id=message.runner_id,
        in_flight_requests=message.in_flight_requests,
        expiration_countdown=optional(message, "expiration_countdown"),
        uptime=timedelta(seconds=message.uptime),
        external_metadata=MessageToDict(message.external_metadata),
        revision=message.revision,
        alias=message.alias,
        state=RunnerState("CRASH_BACKOFF" if state == "FAILURE_DELAY" else state),
        machine_type=message.machine_type,
        replacement=kind.ReplaceState.Name(message.replacement),
    )


def read_key(message: Any) -> UserKeyInfo:
    """
    Return the key that *message* tells of.
    """
    import isolate_proto

    scopes = isolate_proto.CreateUserKeyRequest.Scope
    known = message.scope in scopes.values()
    scope = KeyScope(scopes.Name(message.scope)) if known else None
    return UserKeyInfo(message.key_id, moment(message.created_at), scope, message.alias)


def read_secret(message: Any) -> ServerlessSecret:
    """
    Return the secret that *message* tells of.
    """
    return ServerlessSecret(
        message.name,
        moment(message.created_time),
        optional(message, "environment_name"),
        optional(message, "default_exposed"),
    )


def read_environment(message: Any) -> EnvironmentInfo:
    """
    Return the environment that *message* tells of.
    """
    return EnvironmentInfo(
        message.name,
        optional(message, "description"),
        message.is_default,
        moment(message.created_at),
    )


def read_urls(message: Any) -> ServiceURLs:
    """
    Return the addresses that *message* tells of.
    """
    return ServiceURLs(message.playground, message.run, message.queue, message.ws, message.log)
