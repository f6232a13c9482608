"""Usages: the memory and the GPUs that runners use, asked of their agents while someone looks."""

from __future__ import annotations

import asyncio
import json
import platform
import time
from collections.abc import Iterable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import attrs
from aiohttp import web

from fal_server.access.callers import Caller
from fal_server.dashboard.snapshots import Snapshots
from fal_server.fleet.http_upstreams import TooLarge
from fal_server.fleet.runners import Runner
from fal_server.http.api import ApiRoute

#: Seconds between two questions to one agent, and the most questions in a second to all of
#: them: of 500 runners each is asked every ten seconds.
_PAUSE, _MOST_IN_A_SECOND = 4.0, 50

#: Seconds until an agent is asked again that has not answered, and at most: twice as long each
#: time, as agents of earlier releases never answer.
_AGAIN, _LONGEST_PAUSE = 30.0, 3600.0

#: The most agents that are asked at once, and the seconds that each has to answer.
_AT_ONCE, _PATIENCE = 16, 2.0

#: Seconds that a page waits for answers of agents, and for which one is good.
_WAIT, _STALE = 1.0, 60.0

#: The largest answer of an agent, in bytes, and what is shown of it: GPUs, characters of a
#: name, and the largest number, which is what JavaScript counts to.
_LARGEST, _MOST_GPUS, _LONGEST_NAME, _MOST_BYTES = 1 << 14, 16, 80, 1 << 53


@attrs.define
class _Known:
    """What is known of one runner."""

    usage: Mapping[str, Any] = attrs.field(factory=dict)
    told_at: float | None = None
    next_at: float = 0.0
    pause: float = attrs.field(factory=lambda: _AGAIN)
    asking: asyncio.Future[None] | None = None


class Usages:
    """
    Answers what the runners of an account use.

    Arguments:
        snapshots: Finds the runners of an account.
    """

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots
        self._known: WeakKeyDictionary[Runner, _Known] = WeakKeyDictionary()
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._node = platform.node()

    def routes(self) -> Iterable[ApiRoute]:
        """Return the route."""
        path = "/dashboard/usages"
        return [ApiRoute("GET", path, "serverless:runners:read", self._answer)]

    async def _answer(self, request: web.Request, caller: Caller) -> web.Response:
        """
        Return what the runners use that a page shows: all, or those of the ``application`` or
        the one ``runner`` that its query names.
        """
        application, runner = request.query.get("application"), request.query.get("runner")
        found = [
            each
            for name, each in self._snapshots.runners_of(caller.user_id)
            if application in (None, name) and runner in (None, each.id)
        ]
        return web.json_response(
            {"usages": await self.read(found)}, headers={"Cache-Control": "no-store"}
        )

    async def read(self, runners: Iterable[Runner]) -> Mapping[str, Mapping[str, Any]]:
        """
        Return what *runners* use, by their ids, as far as that is known within a moment. An
        agent that has just been asked is not asked again.
        """
        now = time.monotonic()
        pause = max(_PAUSE, len(self._known) / _MOST_IN_A_SECOND)
        shown = {each: self._known.setdefault(each, _Known()) for each in runners}
        for runner, known in shown.items():
            can_answer = runner.is_alive and runner.agent.url is not None
            if can_answer and known.asking is None and now >= known.next_at:
                known.next_at = now + pause
                known.asking = runner.tasks.spawn(self._ask(runner, known))
        asked = {known.asking for known in shown.values() if known.asking is not None}
        if asked:
            await asyncio.wait(asked, timeout=_WAIT)
        now = time.monotonic()
        return {
            runner.id: known.usage
            for runner, known in shown.items()
            if known.told_at is not None and now - known.told_at < _STALE
        }

    async def _ask(self, runner: Runner, known: _Known) -> None:
        try:
            async with (
                self._room,
                runner.agent.ask("/usage", seconds=_PATIENCE) as upstream,
            ):
                usage = read_usage(await upstream.read(_LARGEST))
                # Of many runners, kept connections would be too many.
                upstream.abort()
        except (OSError, asyncio.TimeoutError, TooLarge, ValueError, RecursionError):
            # It has just ended, or has no time, or is no agent any more.
            known.next_at = time.monotonic() + known.pause
            known.pause = min(2 * known.pause, _LONGEST_PAUSE)
        else:
            here = {} if runner.way.is_elsewhere else {"node": self._node}
            known.usage, known.told_at = {**usage, **here}, time.monotonic()
            known.pause = _AGAIN
        finally:
            known.asking = None


def read_usage(content: bytes) -> dict[str, Any]:
    """
    Return what an agent has answered, as far as it can be shown. An application may have
    written it.

    Raises:
        ValueError: It is not JSON.

        RecursionError: It is nested deeply.
    """
    told = json.loads(content)
    if not isinstance(told, dict):
        raise ValueError("It is no object.")
    gpus = told.get("gpus")
    return {
        "node": _text(told.get("node")),
        "memory": _number(told.get("memory")),
        "limit": _number(told.get("limit")),
        "gpus": [
            {
                "name": _text(each.get("name")),
                "memory": _number(each.get("memory")),
                "used": _number(each.get("used")),
                "busy": _number(each.get("busy"), most=100),
            }
            for each in (gpus if isinstance(gpus, list) else [])[:_MOST_GPUS]
            if isinstance(each, dict)
        ],
    }


def _number(value: object, most: int = _MOST_BYTES) -> int | None:
    return value if type(value) is int and 0 <= value <= most else None


def _text(value: object) -> str:
    is_shown = isinstance(value, str) and value.isprintable()
    return str(value)[:_LONGEST_NAME] if is_shown else ""
