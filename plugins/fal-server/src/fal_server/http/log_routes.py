"""The routes for logs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiohttp import web

from fal_server.access.callers import Caller
from fal_server.access.revocations import Revocations
from fal_server.errors import Invalid, Unauthenticated
from fal_server.http.api import ApiRoute
from fal_server.http.bodies import number_of, time_of, to_text
from fal_server.logs.log_lines import LEVELS, LogFilter, LogLine
from fal_server.logs.logs import Logs

#: The most lines in a page.
_LARGEST_PAGE = 1000

#: The most that counts as the number of a line.
_LARGEST_NUMBER = 10**15

#: Seconds without a line after which a stream sends a heartbeat.
_HEARTBEAT = 15.0


class LogRoutes:
    """Answers the routes for logs."""

    def __init__(self, logs: Logs, revocations: Revocations) -> None:
        self._logs = logs
        self._revocations = revocations

    def routes(self) -> Iterable[ApiRoute]:
        """Return the routes."""
        needs = "serverless:logs:read"
        return [
            ApiRoute("POST", "/logs/history", needs, self._history),
            ApiRoute("POST", "/logs/stream", needs, self._stream),
            ApiRoute("GET", "/logs/", needs, self._recent),
        ]

    async def _history(self, request: web.Request, caller: Caller) -> web.Response:
        size = number_of(request, "page_size", _LARGEST_PAGE, most=_LARGEST_PAGE)
        page = await self._logs.search(_filter(request, caller), size=size)
        until = None if page.next_until is None else to_text(page.next_until)
        items = [_describe(line) for line in page.lines]
        return web.json_response({"items": items, "next_until": until})

    async def _stream(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        """Send lines as server-sent events until the client disconnects, or its key is revoked."""
        lines = self._logs.follow(_filter(request, caller))
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        await response.prepare(request)
        following: asyncio.Future[Sequence[LogLine] | None] | None = None
        try:
            async with self._revocations.hold(caller):
                while True:
                    following = following or asyncio.ensure_future(anext(lines, None))
                    await asyncio.wait([following], timeout=_HEARTBEAT)
                    if not following.done():
                        await response.write(b": here\n\n")
                        continue
                    some, following = following.result(), None
                    if some is None:
                        return response
                    events = (f"data: {json.dumps(_describe(line))}\n\n" for line in some)
                    await response.write("".join(events).encode())
        except Unauthenticated:
            return response
        finally:
            if following is not None:
                following.cancel()
                await asyncio.wait([following])
            await lines.aclose()

    async def _recent(self, request: web.Request, caller: Caller) -> web.Response:
        page = await self._logs.search(_filter(request, caller))
        return web.json_response([_describe(line) for line in page.lines])


def _filter(request: web.Request, caller: Caller) -> LogFilter:
    query = request.query
    return LogFilter(
        account_id=caller.user_id,
        application=query.get("app_name") or None,
        runner_id=query.get("job_id") or None,
        request_id=query.get("request_id") or None,
        search=query.get("search") or None,
        level=_level(query.get("level", "")),
        tracebacks=query.get("traceback", "").lower() in {"true", "1"},
        after=number_of(request, "after", 0, most=_LARGEST_NUMBER) or None,
        since=time_of(request, "since"),
        until=time_of(request, "until"),
    )


def _level(name: str) -> str | None:
    """
    Return the level of that name in any case. None where there is no name.

    Raises:
        Invalid: There is none.
    """
    if not name:
        return None
    if name.upper() not in LEVELS:
        raise Invalid(f"'level' must be one of {', '.join(LEVELS).lower()}.")
    return name.upper()


def _describe(line: LogLine) -> Mapping[str, Any]:
    return {
        "number": line.number,
        "timestamp": to_text(line.time),
        "level": line.level,
        "source": line.source,
        "message": line.message,
        "app": line.application,
        "job_id": line.runner_id,
        "request_id": line.request_id,
    }
