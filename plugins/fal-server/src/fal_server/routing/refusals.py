"""
Why a request gets no response of an application, and what its sender is told.

    Unavailable
    ├── NoRunner                   no runner comes up
    │   ├── RunnerBlocked          the server cannot write its state
    │   └── ApplicationUnreadable  the server cannot read the application
    ├── StartTimeout               no runner had room in time
    └── RunnerDisconnected         the runner broke off

    RequestTimeout                 the runner took too long
"""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp

from fal_server.errors import Refusal, Unavailable
from fal_server.fleet.disconnections import how_it_broke
from fal_server.fleet.http_upstreams import UnreachedUpstream
from fal_server.fleet.runners import Runner

TIMEOUT_TYPE = "x-fal-request-timeout-type"
ERROR_TYPE = "x-fal-error-type"

#: What sending to a runner may raise where the runner is at fault.
DISCONNECTS = (aiohttp.ClientError, ConnectionError)


class NoRunner(Unavailable):
    """
    There is no runner for a request, and none comes up.
    """

    kind = "runner_scheduling_failure"


class RunnerBlocked(NoRunner):
    """
    There is no runner for a request since the server itself can write nothing now.
    """


class ApplicationUnreadable(NoRunner):
    """
    There is no runner for a request since this server cannot read its application.
    """


class StartTimeout(Unavailable):
    """
    A request has waited too long for a runner.
    """

    http = 504
    kind = "startup_timeout"


class RequestTimeout(Refusal):
    """
    A runner took too long for a request.
    """

    http = 504
    kind = "request_timeout"


class RunnerDisconnected(Unavailable):
    """
    A runner has not answered a request that it was given.
    """

    kind = "runner_disconnected"


def describe_refusal(refusal: Refusal) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """
    Return the body and the headers that tell a sender of *refusal*.
    """
    body, headers = {"detail": str(refusal)}, {}
    if refusal.kind:
        body["error_type"] = headers[ERROR_TYPE] = refusal.kind
    if isinstance(refusal, StartTimeout):
        headers[TIMEOUT_TYPE] = "user"
    elif isinstance(refusal, RequestTimeout):
        headers[TIMEOUT_TYPE] = "infrastructure"
    return body, headers


async def describe_disconnection(runner: Runner, error: Exception) -> RunnerDisconnected:
    """
    Return what tells that *runner* has not answered, and why as far as that is known.

    Arguments:
        error: What asking it has raised.
    """
    if isinstance(error, UnreachedUpstream):
        runner.suspect()
    reason = await how_it_broke(runner)
    return RunnerDisconnected(f"The runner broke off the request. {reason}".strip())
