"""
Forwarding: one request, from who sent it to a runner and back.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from urllib.parse import unquote

import aiohttp
import attrs
from isolate_proto import controller_pb2 as wire
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from fal_server.access.callers import Caller
from fal_server.access.identities import Identity
from fal_server.errors import Forbidden, Invalid, NotFound, Refusal, Unavailable
from fal_server.fleet.disconnections import how_it_broke
from fal_server.fleet.http_upstreams import UnreachedUpstream
from fal_server.fleet.runners import Runner
from fal_server.routing.applications import Application
from fal_server.routing.catalogs import ApplicationCatalog
from fal_server.routing.pools import Broken, StartTimeout
from fal_server.specs.retries import NEEDS_RETRY, STOP_RUNNER, ends_runner

Headers = CIMultiDict[str] | CIMultiDictProxy[str]

#: Headers that belong to one connection, and those of which a runner is told nothing.
_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_OURS = _HOP | {
    "auth-key",
    "auth-key-id",
    "authorization",
    "content-length",
    "expect",
    "fal-user-id",
    "host",
    "x-fal-user-id",
}

#: Headers of a runner's answer that nobody else is told.
_NOT_TOLD = _HOP | {"date", NEEDS_RETRY, STOP_RUNNER}

#: Query parameters that are the gateways' own.
TOKEN, WEBHOOK = "fal_jwt_token", "fal_webhook"

#: Random bytes that are asked for at once, and those that are left, in hexadecimal digits.
_AT_ONCE = 1024
_random = ""

REQUEST_ID = "x-fal-request-id"
START_TIMEOUT = "x-fal-request-timeout"
TIMEOUT_TYPE = "x-fal-request-timeout-type"
RUNNER_HINT = "x-fal-runner-hint"
ERROR_TYPE = "x-fal-error-type"


class RequestTimeout(Refusal):
    """
    A runner took too long for a request.
    """

    http = 504
    kind = "request_timeout"


class BrokenOff(Unavailable):
    """
    A runner has not answered a request that it was given.
    """

    kind = "runner_disconnected"


@attrs.frozen(kw_only=True)
class Target:
    """
    What a url asks for.

    Attributes:
        path: What the application is asked for, from its first slash on, as it was
            written.

        query: What follows it, as it was written, without what is the gateways' own.
    """

    application: Application
    path: str
    query: str

    @property
    def path_and_query(self) -> str:
        """
        What the application is asked for.
        """
        return f"{self.path}?{self.query}" if self.query else self.path


@attrs.define(eq=False)
class Forwarder:
    """
    Finds applications, sees who may use them, and leases runners.
    """

    catalog: ApplicationCatalog
    identity: Identity

    def find(self, url: URL) -> Target:
        """
        Return what *url*, as in ``/owner/alias/rest``, asks for.

        Raises:
            NotFound: There is no such application.
        """
        parts = url.raw_path.split("/", 3)
        if len(parts) < 3 or not parts[1] or not parts[2]:
            raise NotFound("An application is called as /owner/name.")
        rest = "/" + parts[3] if len(parts) > 3 else "/"
        application = self.catalog.find(unquote(parts[1]), unquote(parts[2]))
        query = url.raw_query_string
        if query:
            query = "&".join(
                part
                for part in query.split("&")
                if part and part.partition("=")[0] not in (TOKEN, WEBHOOK)
            )
        return Target(application=application, path=rest, query=query)

    async def admit(
        self,
        application: Application,
        headers: Headers,
        permission: str = "models:requests:submit",
    ) -> Caller | None:
        """
        Return who asks, None for somebody unknown where anybody may.

        Raises:
            Refusal: They may not.
        """
        if application.auth_mode == wire.PUBLIC and "Authorization" not in headers:
            return None
        caller = await self.identity.authenticate_http(headers)
        if caller.applications is not None and application.alias not in caller.applications:
            raise Forbidden("The token is for other applications.")
        if application.auth_mode == wire.PUBLIC:
            return caller
        caller.require(permission)
        if application.auth_mode == wire.PRIVATE and caller.user_id != application.owner:
            raise NotFound(
                f"Application {application.owner_name}/{application.alias} was not found."
            )
        return caller

    def lease(
        self,
        application: Application,
        headers: Mapping[str, str],
        request_id: str,
        caller: Caller | None,
        priority: int = 0,
        since: float | None = None,
    ) -> Lease:
        """
        Have a place of a runner within the context that is returned.

        Arguments:
            since: When it was asked for, in seconds of the monotonic clock; now where that
                is None.
        """
        return Lease(application, headers, request_id, caller, priority, since)


@attrs.define(eq=False)
class Lease:
    """
    A place of a runner, within a context.
    """

    _application: Application
    _headers: Mapping[str, str]
    _request_id: str
    _caller: Caller | None
    _priority: int
    _since: float | None
    _runner: Runner | None = attrs.field(default=None, init=False)

    async def __aenter__(self) -> Runner:
        """
        Wait for a runner with room.

        Raises:
            StartTimeout: No runner had room in time.

            NoRunner: None comes up, or none can.
        """
        application, caller = self._application, self._caller
        timeout = start_timeout(self._headers)
        if timeout is None and caller is not None and caller.user_id == application.owner:
            timeout = application.scaling.request_start_timeout
        if timeout is not None and self._since is not None:
            timeout -= time.monotonic() - self._since
            if timeout <= 0:
                raise StartTimeout("No runner could take the request in time.")
        if application.broken:
            raise Broken(application.broken)
        hint = self._headers.get(RUNNER_HINT, "")
        runner = self._runner = await application.pool.acquire(
            priority=self._priority, hint=hint, timeout=timeout
        )
        lease = (time.time(), caller.user_id if caller is not None else "")
        runner.requests[self._request_id] = lease
        return runner

    async def __aexit__(self, *_: object) -> None:
        runner = self._runner
        assert runner is not None
        runner.requests.pop(self._request_id, None)
        # The pool it came from may have been replaced meanwhile.
        runner.release()


def start_timeout(headers: Mapping[str, str]) -> float | None:
    """
    Return how long the sender would wait for a runner, None where nothing is said.

    Raises:
        Invalid: It is no number.
    """
    written = headers.get(START_TIMEOUT)
    if written is None:
        return None
    try:
        seconds = float(written)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e9:
        raise Invalid(f"{START_TIMEOUT} must be a number of seconds, not {written[:40]!r}.")
    return seconds


def to_runner(
    headers: Iterable[tuple[str, str]], request_id: str, path: str
) -> CIMultiDict[str]:
    """
    Return the headers that a runner is sent.
    """
    kept: CIMultiDict[str] = CIMultiDict()
    named: list[str] = []
    for name, value in headers:
        lower = name.lower()
        if lower == "connection":
            named += value.split(",")
        elif lower not in _OURS and not lower.startswith("sec-websocket"):
            kept.add(name, value)
    _drop(kept, named)
    kept[REQUEST_ID] = request_id
    kept["x-fal-endpoint"] = path
    kept.setdefault("x-fal-object-lifecycle-preference", "{}")
    return kept


def from_runner(headers: Headers, request_id: str) -> CIMultiDict[str]:
    """
    Return the headers that the sender is answered with.
    """
    kept: CIMultiDict[str] = CIMultiDict()
    named: list[str] = []
    for name, value in headers.items():
        lower = name.lower()
        if lower == "connection":
            named += value.split(",")
        elif lower not in _NOT_TOLD:
            kept.add(name, value)
    _drop(kept, named)
    kept[REQUEST_ID] = request_id
    return kept


def _drop(headers: CIMultiDict[str], named: Iterable[str]) -> None:
    """
    Drop what the header ``Connection`` names: it is for one connection too.
    """
    for name in named:
        headers.popall(name.strip(), None)


def settle_runner(runner: Runner, status: int, headers: Headers) -> None:
    """
    Have a runner take no more requests, and end, where its answer says that it is broken.
    """
    if ends_runner(status, headers):
        runner.drain()


def what_is_told(refusal: Refusal) -> tuple[Mapping[str, str], Mapping[str, str]]:
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


async def broken_off(runner: Runner, error: Exception) -> BrokenOff:
    """
    Return what tells that *runner* has not answered, and why as far as that is known.

    Arguments:
        error: What asking it has raised.
    """
    if isinstance(error, UnreachedUpstream):
        runner.suspect()
    reason = await how_it_broke(runner)
    return BrokenOff(f"The runner broke off the request. {reason}".strip())


def new_request_id() -> str:
    """
    Return the id of a new request.
    """
    # As uuid.uuid4, which asks the system for each.
    global _random
    if len(_random) < 32:
        _random = os.urandom(_AT_ONCE).hex()
    drawn, _random = _random[:32], _random[32:]
    variant = "89ab"[int(drawn[16], 16) & 3]
    rest = f"4{drawn[13:16]}-{variant}{drawn[17:20]}-{drawn[20:]}"
    return f"{drawn[:8]}-{drawn[8:12]}-{rest}"


#: What sending to a runner may raise where the runner is at fault.
BROKEN = (aiohttp.ClientError, ConnectionError)
