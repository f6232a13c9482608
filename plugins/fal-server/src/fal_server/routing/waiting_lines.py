"""
The line of requests that wait for a runner of a pool.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Iterator

import attrs

from fal_server.fleet.runners import Runner

#: Places in line of further requests.
_numbers = itertools.count()


def next_number() -> int:
    """
    Return the place in line of a new request.
    """
    return next(_numbers)


@attrs.define(eq=False, order=False)
class WaitingRequest:
    """
    A request that waits for a runner.

    Attributes:
        rank: Its priority, and its place in the order in which requests came.

        since: When it began to wait, in seconds of the monotonic clock.

        hint: The id of the runner that it prefers.

        line: The line that it stands in. None once it has left.
    """

    rank: tuple[int, int]
    future: asyncio.Future[Runner]
    since: float
    hint: str = ""
    line: WaitingLine | None = None

    def __lt__(self, other: WaitingRequest) -> bool:
        return self.rank < other.rank

    def leave(self) -> None:
        """
        Leave the line that it stands in, if it still does.
        """
        if self.line is not None:
            self.line.discard(self)


class WaitingLine:
    """
    Requests in the order of their ranks. Joining and leaving takes no longer the more wait.
    """

    def __init__(self) -> None:
        #: By rank. Requests that have left stay until they come first, or are the majority.
        self._heap: list[WaitingRequest] = []
        #: Those that wait, the one that has waited longest first.
        self._members: dict[WaitingRequest, None] = {}

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[WaitingRequest]:
        return iter(list(self._members))

    def add(self, request: WaitingRequest) -> None:
        """
        Have a request wait.
        """
        request.line = self
        heapq.heappush(self._heap, request)
        self._members[request] = None

    def discard(self, request: WaitingRequest) -> None:
        """
        Have a request wait no more, if it does.
        """
        if request not in self._members:
            return
        del self._members[request]
        request.line = None
        if len(self._heap) > 2 * len(self._members) + 16:
            self._heap = list(self._members)
            heapq.heapify(self._heap)

    def first(self) -> WaitingRequest | None:
        """
        Return the request that is next. None if none waits.
        """
        while self._heap:
            request = self._heap[0]
            if request in self._members and not request.future.done():
                return request
            heapq.heappop(self._heap)
            self.discard(request)
        return None

    def longest_wait(self) -> float | None:
        """
        Return when the request that has waited longest began to, in seconds of the monotonic
        clock. None if none waits.
        """
        return next((request.since for request in self._members), None)

    def move_to(self, other: WaitingLine) -> None:
        """
        Move all requests to *other*.
        """
        moved = list(self._members)
        self._heap, self._members = [], {}
        for request in moved:
            other.add(request)
        by_age = sorted(other._members, key=lambda request: request.since)
        other._members = dict.fromkeys(by_age)
