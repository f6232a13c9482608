"""
The order of the queue: the requests that no runner has, by application.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

import attrs

from fal_server.queue.pending_requests import PendingRequest
from fal_server.queue.queue_room import Name


@attrs.define(eq=False)
class QueueOrder:
    """
    The requests that wait for a runner, by application, each list sorted. None of the
    methods that are called for each request visits those that wait.
    """

    _lines: dict[Name, list[PendingRequest]] = attrs.field(factory=dict)

    def add(self, request: PendingRequest) -> int:
        """
        Note that a request waits, and return how many are ahead of it.
        """
        line = self._lines.setdefault(request.place.application, [])
        index, waits = _find(line, request)
        if not waits:
            line.insert(index, request)
        return index

    def discard(self, request: PendingRequest) -> int | None:
        """
        Note that a request waits no more, and return how many were ahead of it. None if it
        did not wait.
        """
        name = request.place.application
        line = self._lines.get(name, [])
        index, waits = _find(line, request)
        if not waits:
            return None
        del line[index]
        if not line:
            del self._lines[name]
        return index

    def position(self, request: PendingRequest) -> int:
        """
        Return how many requests to the same application are ahead of *request*.
        """
        index, _ = _find(self._lines.get(request.place.application, []), request)
        return index

    def between(self, name: Name, start: int, end: int) -> list[PendingRequest]:
        """
        Return the requests to an application that have *start* or more ahead of them, and
        fewer than *end*.
        """
        return self._lines.get(name, [])[start:end]

    def of(self, name: Name) -> list[PendingRequest]:
        """
        Return the requests to an application, in their order.
        """
        return [*self._lines.get(name, [])]

    def counts(self) -> Iterator[tuple[Name, int]]:
        """
        Yield each application that requests wait for, and how many.
        """
        for name, line in self._lines.items():
            yield name, len(line)


def _place_of(request: PendingRequest) -> tuple[int, int, str]:
    # Several servers may give the same number at once.
    return request.priority, request.number, request.id


def _find(line: list[PendingRequest], request: PendingRequest) -> tuple[int, bool]:
    """
    Return the index of a request in a line, and whether it is there.
    """
    place = _place_of(request)
    if not line or _place_of(line[-1]) < place:
        # Most come last.
        return len(line), False
    index = bisect_left(line, place, key=_place_of)
    return index, line[index] is request
