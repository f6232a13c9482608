"""Responses: what runners return for queued requests."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import attrs

from fal_server.errors import Refusal, TooLarge
from fal_server.fleet.http_upstreams import UnreachedUpstream
from fal_server.fleet.runners import Runner
from fal_server.routing.applications import Application
from fal_server.routing.headers import ATTEMPT, from_runner, to_runner
from fal_server.routing.leases import responding
from fal_server.routing.refusals import ERROR_TYPE, RequestTimeout, describe_refusal
from fal_server.specs.request_retries import Condition, judge
from fal_server.state.bodies import Body, IncomingBody
from fal_server.state.texts import valid_text
from fal_server.store.queued_requests import QueuedRequest


class ResponseTooLarge(Refusal):
    """A runner responded with more than the server keeps."""

    http = 502
    kind = "response_too_large"


@attrs.frozen(kw_only=True)
class RunnerResponse:
    """
    The response to a queued request.

    Attributes:
        body: The body. One with a file is kept by :meth:`keep`, or removed by :meth:`discard`.

        error: The error message. None where the request succeeded.

        failed: The condition in which the attempt failed, True if the response asks for a
            retry, or False if it is for the sender.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: Body = attrs.field(repr=False)
    error: str | None = None
    error_type: str | None = None
    failed: Condition | bool = False
    _incoming: IncomingBody | None = None

    def keep(self) -> None:
        """Keep the file of the body, which is referred to now."""
        if self._incoming is not None:
            self._incoming.keep()

    def discard(self) -> None:
        """Remove the file of the body, if it has one."""
        if self._incoming is not None:
            self._incoming.discard()

    @classmethod
    def from_refusal(cls, refusal: Refusal, failed: Condition | bool = False) -> RunnerResponse:
        """Return the response to a request that no runner has responded to."""
        described, headers = describe_refusal(refusal)
        return cls(
            status=refusal.http,
            headers=(("Content-Type", "application/json"), *headers.items()),
            body=Body.of(json.dumps(described).encode()),
            error=str(refusal),
            error_type=refusal.kind or None,
            failed=failed,
        )


async def ask(
    application: Application,
    runner: Runner,
    request: QueuedRequest,
    body: Body,
    incoming: IncomingBody,
) -> RunnerResponse:
    """
    Send a request with its *body* to *runner*, and return its response.

    A runner is drained if it accepts no connection, takes too long, or responds that it
    must be ended.

    Arguments:
        incoming: Takes the body of the response.

    Raises:
        RequestTimeout: The runner took too long.

        ResponseTooLarge: The response is too large.

        BrokenUpstream: The runner did not respond.
    """
    headers = to_runner(request.headers, request.id, request.path.partition("?")[0])
    headers[ATTEMPT] = str(request.attempts)
    # The response is read later, perhaps by a webhook, and not by the client that
    # accepted an encoding in the request.
    headers["Accept-Encoding"] = "identity"
    if body.files is not None:
        headers["Content-Length"] = str(body.size)
    timeout = application.scaling.request_timeout
    try:
        async with runner.ask(
            request.method,
            request.path,
            headers=headers,
            # A body that cannot be read at present is told before a runner has a part of it.
            body=(body.content or None) if body.files is None else await body.begun(),
            seconds=timeout,
        ) as upstream:
            with responding(runner, upstream.status, upstream.headers):
                while part := await upstream.read_part():
                    await incoming.write(part)
                response = await incoming.finish()
            response_headers = tuple(
                (name, value)
                for name, value in from_runner(upstream.headers, request.id).items()
                if name.lower() != "content-length"
            )
            error = None
            if upstream.status >= 400:
                error = _detail(response.content or await asyncio.to_thread(response.start))
            responded = RunnerResponse(
                status=upstream.status,
                headers=response_headers,
                body=response,
                error=error,
                error_type=upstream.headers.get(ERROR_TYPE) if error else None,
                failed=judge(upstream.status, upstream.headers),
                incoming=incoming,
            )
        # Only now nothing can fail any more, after which nobody would remove the file.
        incoming.take()
        return responded
    except TooLarge:
        raise ResponseTooLarge(
            f"The response has more than the {incoming.largest} bytes that the server keeps."
        ) from None
    except UnreachedUpstream:
        runner.drain(is_replaced=True)
        raise
    except asyncio.TimeoutError:
        runner.drain(is_replaced=True)
        runner.suspect()
        raise RequestTimeout(f"The request took more than {timeout} seconds.") from None


def _detail(body: bytes) -> str:
    """Return the error message in the body of a response."""
    try:
        content: Any = json.loads(body)
        detail = content.get("detail", content) if isinstance(content, dict) else content
        text = detail if isinstance(detail, str) else json.dumps(detail)
        return valid_text(text)
    except (ValueError, RecursionError):
        return body[:1000].decode("utf-8", "replace")
