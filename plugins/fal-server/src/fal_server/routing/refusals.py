"""
Refusals of requests that get no response from an application.

    Unavailable
    ├── NoRunner                   no runner could be started
    │   ├── StartFailed            a runner ended before it was up
    │   ├── RunnerBlocked          the server cannot write its state
    │   └── ApplicationUnreadable  the server cannot read the application
    ├── StartTimeout               no runner had a free slot in time
    └── RunnerDisconnected         the runner broke off the request
        └── RunnerGone             the runner had ended before it got the request

    RequestTimeout                 the runner took too long
    WebSocketRefused               the application did not accept a websocket
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import aiohttp

from fal_server.errors import Refusal, Unavailable
from fal_server.fleet.disconnections import how_it_broke
from fal_server.fleet.http_upstreams import RefusedUpstream, UnreachedUpstream
from fal_server.fleet.runners import Runner

TIMEOUT_TYPE = "x-fal-request-timeout-type"
ERROR_TYPE = "x-fal-error-type"

#: The errors of a request to a runner for which the runner is at fault.
DISCONNECTS = (aiohttp.ClientError, ConnectionError)


class NoRunner(Unavailable):
    """There is no runner for a request, and none could be started."""

    kind = "runner_scheduling_failure"


class StartFailed(NoRunner):
    """
    There is no runner for a request, because those that were started ended before they were
    up. The sentence says why, and may quote the code of the owner.
    """


class RunnerBlocked(NoRunner):
    """There is no runner for a request, because the server cannot write its state."""


class ApplicationUnreadable(NoRunner):
    """There is no runner for a request, because the server cannot read its application."""


class StartTimeout(Unavailable):
    """A request waited too long for a runner."""

    http = 504
    kind = "startup_timeout"

    @classmethod
    def of(cls, runners: Iterable[Runner]) -> StartTimeout:
        """
        Return the error of a request that none of *runners* could take. Its sender may be a
        stranger, who is not told the names of hosts.
        """
        waiting = [each.lifecycle for each in runners if each.lifecycle.waits_for]
        reason = waiting[0].waits_for if waiting else ""
        if waiting and waiting[0].unreached:
            reason = "It waits for a host that cannot be reached now."
        return cls(f"No runner could take the request in time. {reason}".rstrip())


class RequestTimeout(Refusal):
    """A runner took too long to respond."""

    http = 504
    kind = "request_timeout"


class RunnerDisconnected(Unavailable):
    """A runner broke off a request without a response."""

    kind = "runner_disconnected"


class RunnerGone(RunnerDisconnected):
    """A runner had ended before it got a request, so that another one may get it."""


class WebSocketRefused(Refusal):
    """An application responded to a websocket with a status, and did not accept it."""

    def __init__(self, status: int) -> None:
        super().__init__("The application refused the websocket.")
        self.http = status


def describe_refusal(refusal: Refusal) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Return the body and the headers of the response for *refusal*."""
    body, headers = {"detail": str(refusal)}, {}
    if refusal.kind:
        body["error_type"] = headers[ERROR_TYPE] = refusal.kind
    if refusal.retry_after is not None:
        headers["Retry-After"] = str(refusal.retry_after)
    if isinstance(refusal, StartTimeout):
        headers[TIMEOUT_TYPE] = "user"
    elif isinstance(refusal, RequestTimeout):
        headers[TIMEOUT_TYPE] = "infrastructure"
    return body, headers


async def describe_disconnection(runner: Runner, error: Exception) -> RunnerDisconnected:
    """
    Return the 503 for a runner that broke off a request, with the reason if it is known.

    Arguments:
        error: The error that the request to the runner raised. If the runner accepted no
            connection, it is pinged, and ended if it does not respond.
    """
    if isinstance(error, UnreachedUpstream):
        runner.suspect()
    reason = await how_it_broke(runner)
    was_sent = runner.is_running or not isinstance(error, RefusedUpstream)
    kind = RunnerDisconnected if was_sent else RunnerGone
    return kind(f"The runner broke off the request. {reason}".strip())
