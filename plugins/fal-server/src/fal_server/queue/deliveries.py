"""
Deliveries: when webhooks are sent, and how many at once.

A webhook that is not due, or whose turn has not come, is in memory by its id alone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from heapq import heappop, heappush
from typing import Generic, TypeVar

import attrs

from fal_server.queue.queue_room import Sender
from fal_server.state.tasks import Tasks

logger = logging.getLogger(__name__)

_Key = TypeVar("_Key")
_Due = TypeVar("_Due")

#: The most webhooks that are sent at once: in all, of one account, and of one account to one
#: host, so that hosts that do not respond hold up neither the webhooks of others nor those
#: to other hosts.
MOST, MOST_OF_ONE, MOST_TO_HOST = 512, 64, 16

#: Seconds before a webhook is tried again whose delivery failed in the server itself.
_REPAIR = 60.0


@attrs.define(eq=False)
class Deliveries(Generic[_Due]):
    """
    The webhooks that are still to be delivered.

    Arguments:
        find: Returns what is sent, by the id of its request, or None if nothing is.

        host_of: Returns the host that it is sent to.

        send: Sends it once, and returns the seconds before the next attempt. None
            if there is none.
    """

    find: Callable[[str], Awaitable[_Due | None]]
    host_of: Callable[[_Due], str]
    send: Callable[[_Due], Awaitable[float | None]]
    #: Those that wait for their time, for their turn, and for a host.
    _later: list[tuple[float, str]] = attrs.field(factory=list)
    _ready: dict[Sender, deque[str]] = attrs.field(factory=dict)
    _held: dict[tuple[Sender, str], deque[str]] = attrs.field(factory=dict)
    _senders: dict[str, Sender] = attrs.field(factory=dict)
    _counts: Counter[Sender] = attrs.field(factory=Counter)
    _busy: Counter[Sender | tuple[Sender, str]] = attrs.field(factory=Counter)
    _under_way: int = 0
    _timer: asyncio.TimerHandle | None = None
    _tasks: Tasks = attrs.field(factory=Tasks)
    _is_closed: bool = False

    def count(self, sender: Sender) -> int:
        """Return how many webhooks of *sender* are still to be delivered."""
        return self._counts[sender]

    def add(self, request_id: str, sender: Sender, pause: float = 0.0) -> None:
        """Have a webhook of *sender* sent after *pause* seconds, unless it is here already."""
        if request_id in self._senders:
            return
        self._senders[request_id] = sender
        self._counts[sender] += 1
        self._wait(request_id, pause)

    async def close(self) -> None:
        """Stop all deliveries."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        await self._tasks.close()

    def _wait(self, request_id: str, pause: float) -> None:
        if pause > 0:
            heappush(self._later, (time.monotonic() + pause, request_id))
            self._set_timer()
        else:
            self._ready.setdefault(self._senders[request_id], deque()).append(request_id)
            self._start_next()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._later and not self._is_closed:
            pause = max(0.0, self._later[0][0] - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(pause, self._wake)

    def _wake(self) -> None:
        """Have those sent whose time has come."""
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            _, request_id = heappop(self._later)
            self._ready.setdefault(self._senders[request_id], deque()).append(request_id)
        self._set_timer()
        self._start_next()

    def _start_next(self) -> None:
        """Start deliveries, of one account after the other."""
        waiting = [each for each in self._ready if self._busy[each] < MOST_OF_ONE]
        while waiting and self._under_way < MOST and not self._is_closed:
            for sender in waiting[: MOST - self._under_way]:
                line = self._ready[sender]
                request_id = line.popleft()
                if not line:
                    del self._ready[sender]
                self._under_way += 1
                self._busy[sender] += 1
                self._tasks.spawn(self._deliver(request_id, sender))
            waiting = [
                each
                for each in waiting
                if each in self._ready and self._busy[each] < MOST_OF_ONE
            ]

    async def _deliver(self, request_id: str, sender: Sender) -> None:
        """Send a webhook once, and have it wait for the next time if there is one."""
        pause: float | None = _REPAIR
        try:
            due = await self.find(request_id)
            if due is None:
                pause = None
            elif self._busy[host := (sender, self.host_of(due))] >= MOST_TO_HOST:
                self._held.setdefault(host, deque()).append(request_id)
                return
            else:
                pause = await self._send(due, host)
        except Exception as error:
            # The message may contain the URL.
            why = type(error).__name__
            logger.error("The webhook of request %s could not be sent: %s", request_id, why)
        finally:
            self._under_way -= 1
            _lower(self._busy, sender)
            self._start_next()
        if pause is not None:
            self._wait(request_id, pause)
        else:
            del self._senders[request_id]
            _lower(self._counts, sender)

    async def _send(self, due: _Due, host: tuple[Sender, str]) -> float | None:
        self._busy[host] += 1
        try:
            return await self.send(due)
        finally:
            _lower(self._busy, host)
            if (held := self._held.get(host)) is not None:
                # The next one to this host is the next one of its account.
                self._ready.setdefault(host[0], deque()).appendleft(held.popleft())
                if not held:
                    del self._held[host]


def _lower(counts: Counter[_Key], key: _Key) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
