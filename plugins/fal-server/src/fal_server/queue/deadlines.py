"""
Deadlines: when requests that are not about to get a runner have waited for long enough.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from heapq import heapify, heappop, heappush

import attrs

from fal_server.state.tasks import wait_for_event

#: How many deadlines are kept at least before those that no longer matter are looked for.
_FEW = 1000


@attrs.define(eq=False)
class Deadlines:
    """
    The deadlines of requests.

    Arguments:
        matters: Whether the deadline of the request with this id still matters.
    """

    matters: Callable[[str], bool]
    _heap: list[tuple[float, str]] = attrs.field(factory=list)
    _changed: asyncio.Event = attrs.field(factory=asyncio.Event)
    _many: int = 2 * _FEW

    def add(self, due: float, request_id: str) -> None:
        """
        Add a deadline, in seconds of the monotonic clock.
        """
        if len(self._heap) >= self._many:
            self._heap = [each for each in self._heap if self.matters(each[1])]
            heapify(self._heap)
            self._many = 2 * max(_FEW, len(self._heap))
        heappush(self._heap, (due, request_id))
        self._changed.set()

    async def passed(self, most: int) -> list[str]:
        """
        Wait for a deadline, and return up to *most* requests whose deadline has passed.
        """
        while True:
            now, ids = time.monotonic(), list[str]()
            while self._heap and self._heap[0][0] <= now and len(ids) < most:
                ids.append(heappop(self._heap)[1])
            if ids:
                return ids
            self._changed.clear()
            left = self._heap[0][0] - now if self._heap else None
            await wait_for_event(self._changed, left)
