"""
The line of requests that wait for a runner of a pool.
"""

from __future__ import annotations

import asyncio
import itertools
from bisect import bisect_left, insort
from collections.abc import Callable

import attrs

from fal_server.fleet.runners import Runner

_numbers = itertools.count()


@attrs.define(eq=False, order=False)
class WaitingRequest:
    """
    A request that waits for a runner.

    Attributes:
        priority: Requests with smaller numbers go first.

        since: When it began to wait, in seconds of the monotonic clock.

        hint: The id of the runner that it prefers.

        is_queued: Whether it waits on where this machine has no devices for a runner.

        number: Its place among requests of its priority, in the order in which they came.

        line: The line that it stands in. None where it stands in none.
    """

    priority: int
    future: asyncio.Future[Runner]
    since: float
    hint: str = ""
    is_queued: bool = False
    number: int = attrs.field(factory=_numbers.__next__)
    line: WaitingLine | None = None

    def __lt__(self, other: WaitingRequest) -> bool:
        return (self.priority, self.number) < (other.priority, other.number)

    def leave(self) -> None:
        """
        Leave the line that it stands in, if any.
        """
        if self.line is not None:
            self.line.remove(self)


class WaitingLine:
    """
    Requests in their order. Joining and leaving visit few of those that wait.
    """

    def __init__(self) -> None:
        self._sorted: list[WaitingRequest] = []
        #: The same requests, the one that has waited longest first.
        self._by_age: dict[WaitingRequest, None] = {}

    def __len__(self) -> int:
        return len(self._sorted)

    def add(self, request: WaitingRequest) -> None:
        """
        Have a request wait, which stands in no other line.
        """
        request.line = self
        insort(self._sorted, request)
        self._by_age[request] = None

    def remove(self, request: WaitingRequest) -> None:
        """
        Have a request of this line wait no more.
        """
        request.line = None
        del self._sorted[bisect_left(self._sorted, request)]
        del self._by_age[request]

    def first(self) -> WaitingRequest | None:
        """
        Return the request that is next. None if none waits.
        """
        while self._sorted:
            request = self._sorted[0]
            if not request.future.done():
                return request
            # It was cancelled, and its sender has not left yet.
            self.remove(request)
        return None

    def longest_wait(self) -> float | None:
        """
        Return when the request that has waited longest began to, in seconds of the monotonic
        clock. None if none waits.
        """
        return next((request.since for request in self._by_age), None)

    def take(self, is_meant: Callable[[WaitingRequest], bool]) -> list[WaitingRequest]:
        """
        Have those requests wait no more that are meant, and return them, in their order.
        """
        taken = [each for each in self._sorted if is_meant(each)]
        for request in taken:
            self.remove(request)
        return taken

    def take_all(self) -> list[WaitingRequest]:
        """
        Have no request wait any more, and return those that did, in their order.
        """
        taken, self._sorted, self._by_age = self._sorted, [], {}
        for request in taken:
            request.line = None
        return taken

    def move_to(self, other: WaitingLine) -> None:
        """
        Move all requests to *other*.
        """
        for request in self.take_all():
            other.add(request)
        other._by_age = dict.fromkeys(sorted(other._by_age, key=lambda each: each.since))
