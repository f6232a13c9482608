"""Documented values: what the client returns."""

from __future__ import annotations

import enum
from datetime import datetime, timedelta
from typing import Any, Literal

import attrs

__all__ = [
    "AliasInfo",
    "DeploymentInfo",
    "DeploymentStrategy",
    "EnvironmentInfo",
    "KeyPreset",
    "KeyScope",
    "RegisterApplicationResult",
    "Revision",
    "RevisionInfo",
    "RunnerInfo",
    "RunnerState",
    "ServerlessSecret",
    "ServiceURLs",
    "SubmittedRequest",
    "UserKeyInfo",
]

#: ``recreate`` ends the runners of the previous revision; ``rolling`` waits until those of
#: the new one can take over.
DeploymentStrategy = Literal["recreate", "rolling"]


class KeyScope(enum.Enum):
    """The permissions of a key: everything, or only calling applications."""

    ADMIN = "ADMIN"
    API = "API"


class KeyPreset(enum.Enum):
    """The permissions of a key, by the service's name for them."""

    FULL = "FULL"
    API = "API"
    DEPLOY = "DEPLOY"
    READONLY = "READONLY"
    BILLING = "BILLING"
    COMPUTE = "COMPUTE"
    SERVERLESS = "SERVERLESS"
    AGENT = "AGENT"


class RunnerState(enum.Enum):
    """The state of a runner."""

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
        scope: None if the permissions match neither scope.
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
            the setting of the account decides.
    """

    name: str
    created_at: datetime
    environment_name: str | None = None
    default_exposed: bool | None = None


@attrs.define
class EnvironmentInfo:
    """A stage: a set of applications and secrets that is separate from the others."""

    name: str
    description: str | None
    is_default: bool
    created_at: datetime


@attrs.define
class AliasInfo:
    """
    An application: its name, the revision behind it, and how it scales.

    Times are in seconds. A limit of 0 is none.
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


@attrs.frozen(kw_only=True)
class RevisionInfo:
    """A registered revision of an application."""

    revision: str
    created_at: datetime
    active_runners: int
    machine_types: list[str]
    environment_name: str | None = None


@attrs.frozen(kw_only=True)
class DeploymentInfo:
    """
    What was done to an application: a line of its history.

    Attributes:
        action: ``deploy``, ``set`` where an earlier revision took over, or ``delete``.

        outcome: ``pending``, ``serving``, ``failed``, ``superseded`` or ``deleted``.

        message, annotations: What the revision carries.

        key_id: The id of the key with which it was asked for.

        reason: Why it has failed. Empty where it has not.

        ended_at: None while it is pending.
    """

    revision: str
    action: str
    outcome: str
    created_at: datetime
    message: str = ""
    annotations: dict[str, str] = attrs.field(factory=dict)
    key_id: str = ""
    reason: str = ""
    ended_at: datetime | None = None


@attrs.define
class RunnerInfo:
    """
    A runner, which serves an application.

    Attributes:
        expiration_countdown: Seconds until it ends unless a request comes.
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
    """The URLs of an application, by their use."""

    playground: str
    run: str
    queue: str
    ws: str
    log: str


@attrs.frozen(kw_only=True)
class SubmittedRequest:
    """
    A request that the queue of an application has accepted.

    Attributes:
        is_replayed: Whether it was accepted before, with the same key.
    """

    request_id: str
    response_url: str
    status_url: str
    cancel_url: str
    is_replayed: bool = False


@attrs.define
class Revision:
    """A deployed revision, by its id."""

    application_id: str


@attrs.define
class RegisterApplicationResult:
    """A message of a deployment under way; *result* is None until it has finished."""

    result: Revision | None
    logs: list[Any] = attrs.field(factory=list)
    service_urls: ServiceURLs | None = None
