"""
Answers: what runners answer queued requests with.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import attrs

from fal_server.errors import Refusal
from fal_server.fleet.http_upstreams import UnreachedUpstream
from fal_server.fleet.runners import Runner
from fal_server.routing.applications import Application
from fal_server.routing.headers import from_runner, to_runner
from fal_server.routing.leases import settle_runner
from fal_server.routing.refusals import ERROR_TYPE, RequestTimeout, describe_refusal
from fal_server.specs.request_retries import Condition, judge
from fal_server.store.queued_requests import QueuedRequest

#: The header that tells a runner of how often a request was begun.
ATTEMPT = "x-fal-request-attempt"


@attrs.frozen(kw_only=True)
class RunnerResponse:
    """
    What a request was answered with.

    Attributes:
        failed: Why it is no good, or True where it asks to be tried again; False where
            it is one to pass on.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes = attrs.field(repr=False)
    error: str | None = None
    error_type: str | None = None
    failed: Condition | bool = False

    @classmethod
    def refused(cls, refusal: Refusal, failed: Condition | bool = False) -> RunnerResponse:
        """
        Return the answer to a request that no runner has answered.
        """
        told, headers = describe_refusal(refusal)
        return cls(
            status=refusal.http,
            headers=(("Content-Type", "application/json"), *headers.items()),
            body=json.dumps(told).encode(),
            error=str(refusal),
            error_type=refusal.kind or None,
            failed=failed,
        )


async def ask(
    application: Application, runner: Runner, request: QueuedRequest
) -> RunnerResponse:
    """
    Return what *runner* answers a request with.

    A runner that has taken too long, or no connection, or says that it is broken, takes no
    more.

    Raises:
        RequestTimeout: It took too long.

        BrokenUpstream: It has not answered.
    """
    headers = to_runner(request.headers, request.id, request.path.partition("?")[0])
    headers[ATTEMPT] = str(request.attempts)
    # Who reads the answer, a webhook among them, is not who has sent the request.
    headers["Accept-Encoding"] = "identity"
    timeout = application.scaling.request_timeout
    try:
        async with runner.ask(
            request.method,
            request.path,
            headers=headers,
            body=request.body or None,
            seconds=timeout,
        ) as upstream:
            body = await upstream.read()
            settle_runner(runner, upstream.status, upstream.headers)
            told = tuple(
                (name, value)
                for name, value in from_runner(upstream.headers, request.id).items()
                if name.lower() != "content-length"
            )
            error = None if upstream.status < 400 else _detail(body)
            return RunnerResponse(
                status=upstream.status,
                headers=told,
                body=body,
                error=error,
                error_type=upstream.headers.get(ERROR_TYPE) if error else None,
                failed=judge(upstream.status, upstream.headers),
            )
    except UnreachedUpstream:
        runner.drain()
        raise
    except asyncio.TimeoutError:
        runner.drain()
        runner.suspect()
        raise RequestTimeout(f"The request took more than {timeout} seconds.") from None


def _detail(body: bytes) -> str:
    """
    Return what an application says of an error.
    """
    try:
        found: Any = json.loads(body)
        detail = found.get("detail", found) if isinstance(found, dict) else found
        return detail if isinstance(detail, str) else json.dumps(detail)
    except ValueError:
        return body[:1000].decode("utf-8", "replace")
