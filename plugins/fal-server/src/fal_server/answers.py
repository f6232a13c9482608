"""
Answers: what runners say to queued requests.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import attrs

from fal_server.applications import Application
from fal_server.errors import Refusal
from fal_server.forwarding import (
    ERROR_TYPE,
    RequestTimeout,
    from_runner,
    to_runner,
    what_is_told,
)
from fal_server.requests import QueuedRequest
from fal_server.runners import Runner

#: The header that tells a runner of how often a request was begun.
ATTEMPT = "x-fal-request-attempt"


@attrs.frozen
class Answer:
    """
    What a request was answered with.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    error: str | None = None
    error_type: str | None = None

    @classmethod
    def refused(cls, refusal: Refusal) -> Answer:
        """
        Return the answer to a request that no runner has answered.
        """
        told, headers = what_is_told(refusal)
        shown = (("Content-Type", "application/json"), *headers.items())
        return cls(
            refusal.http, shown, json.dumps(told).encode(), str(refusal), refusal.kind or None
        )


async def ask(application: Application, runner: Runner, request: QueuedRequest) -> Answer:
    """
    Give a request to a runner, and return its answer.

    Raises:
        RequestTimeout: It took longer than the application may.

        Exception: One of those in :data:`~fal_server.forwarding.BROKEN`, where the
            runner breaks off.
    """
    headers = to_runner(request.headers, request.id, request.path.partition("?")[0])
    headers[ATTEMPT] = str(request.attempts)
    timeout = application.scaling.request_timeout
    try:
        async with runner.session.request(
            request.method,
            f"{runner.url}{request.path}",
            headers=headers,
            data=request.body or None,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=5.0),
        ) as upstream:
            body = await upstream.read()
            told = tuple(
                (name, value)
                for name, value in from_runner(upstream.headers, request.id).items()
                if name.lower() != "content-length"
            )
            error = None if upstream.status < 400 else _detail(body)
            kind = upstream.headers.get(ERROR_TYPE) if error else None
            return Answer(upstream.status, told, body, error, kind)
    except asyncio.TimeoutError:
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
