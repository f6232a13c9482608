"""
The route that tells the pages what changes, as server-sent events, and those of plots and of
what runners use.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web

from fal_server.access.callers import Caller
from fal_server.access.revocations import Revocations
from fal_server.activity.measurements import Measurements
from fal_server.dashboard.snapshots import Items, Snapshots, only_allowed
from fal_server.dashboard.usages import Usages
from fal_server.errors import Invalid, TooMany, Unauthenticated
from fal_server.http.api import ApiRoute

#: Seconds between two looks, and the heartbeat interval of a stream.
_PAUSE, _HEARTBEAT = 1.0, 15.0

#: The most streams of one account.
_MOST = 64

#: What is plotted: the seconds of a step, and how many steps.
_SPANS: Mapping[str, tuple[int, int]] = {
    "minutes": (15, 120),
    "hours": (300, 288),
    "days": (3600, 720),
}


class LiveRoutes:
    """Answers the routes of what goes on."""

    def __init__(
        self, snapshots: Snapshots, measurements: Measurements, revocations: Revocations
    ) -> None:
        self._snapshots = snapshots
        self._measurements = measurements
        self._revocations = revocations
        self._usages = Usages(snapshots)
        self._ended = asyncio.Event()
        self._open: dict[str, int] = {}

    def routes(self) -> Iterable[ApiRoute]:
        """Return the routes."""
        plots = "/dashboard/applications/{alias}/measurements"
        return [
            ApiRoute("GET", "/dashboard/live", "account:settings:read", self._follow),
            ApiRoute("GET", plots, "serverless:apps:read", self._measured),
            *self._usages.routes(),
        ]

    async def end(self) -> None:
        """End the streams that are open."""
        self._ended.set()

    async def _follow(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        """
        Send what the account has, and then what changes, until the client disconnects, or its
        key is revoked.
        """
        if self._open.get(caller.user_id, 0) >= _MOST:
            raise TooMany(f"{_MOST} pages of this account are open already: close one.")
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        await response.prepare(request)
        self._open[caller.user_id] = self._open.get(caller.user_id, 0) + 1
        try:
            async with self._revocations.hold(caller):
                await self._send(response, caller)
        except Unauthenticated:
            pass
        finally:
            self._open[caller.user_id] -= 1
            if not self._open[caller.user_id]:
                del self._open[caller.user_id]
        return response

    async def _send(self, response: web.StreamResponse, caller: Caller) -> None:
        applications: Items = {}
        runners: Items = {}
        is_first, sent_at = True, time.monotonic()
        while not self._ended.is_set():
            now = only_allowed(self._snapshots.take(caller.user_id), caller)
            change = {
                "applications": _difference(applications, now.applications),
                "runners": _difference(runners, now.runners),
            }
            applications, runners = now.applications, now.runners
            if is_first or change["applications"] or change["runners"]:
                await response.write(f"data: {json.dumps(change)}\n\n".encode())
                is_first, sent_at = False, time.monotonic()
            elif time.monotonic() - sent_at > _HEARTBEAT:
                await response.write(b": here\n\n")
                sent_at = time.monotonic()
            waiting = asyncio.ensure_future(self._ended.wait())
            await asyncio.wait([waiting], timeout=_PAUSE)
            waiting.cancel()

    async def _measured(self, request: web.Request, caller: Caller) -> web.Response:
        span = request.query.get("span", "minutes")
        if span not in _SPANS:
            raise Invalid(f"'span' must be one of {', '.join(_SPANS)}.")
        step, count = _SPANS[span]
        # What goes on now is not counted to its end.
        first = (int(time.time() // step) - count) * step
        found = await self._measurements.read(
            caller.user_id, request.match_info["alias"], step, first
        )
        points = [
            {
                "at": each.begun_at,
                "requests": each.tally.requests,
                "errors": each.tally.errors,
                "runners": each.tally.runners,
                "waiting": each.tally.waiting,
                "median": each.tally.percentile(0.5),
                "slow": each.tally.percentile(0.95),
            }
            for each in found
        ]
        return web.json_response(
            {"step": step, "first": first, "count": count, "points": points}
        )


def _difference(before: Items, now: Items) -> Mapping[str, Any]:
    """Return what is new or has changed, and None for what is gone."""
    changed: dict[str, Any] = {
        name: item for name, item in now.items() if before.get(name) != item
    }
    return changed | dict.fromkeys(before.keys() - now.keys())
