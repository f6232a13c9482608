"""
The backlog: the queued requests without a response, and which of them compete for a runner.

There may be very many. Only those at the front of the line of each application are in memory
as a whole and wait in the pool of the application; of the others there is little more than
the id.
"""

from __future__ import annotations

import asyncio
import functools
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush
from itertools import islice

import attrs

from fal_server.queue.pending_requests import PendingRequest
from fal_server.queue.queue_room import Name
from fal_server.state.tasks import Tasks, insist, wait_for_event
from fal_server.store.queued_requests import QueuedRequests


@attrs.define(eq=False)
class QueueOrder:
    """
    The requests that wait for a runner, by application, each list sorted. None of the
    methods that are called for each request visits those that wait.
    """

    _lines: dict[Name, list[PendingRequest]] = attrs.field(factory=dict)

    def add(self, request: PendingRequest) -> int:
        """Note that a request waits, and return how many are ahead of it."""
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
        """Return how many requests to the same application are ahead of *request*."""
        index, _ = _find(self._lines.get(request.place.application, []), request)
        return index

    def between(self, name: Name, start: int, end: int) -> list[PendingRequest]:
        """
        Return the requests to an application that have *start* or more ahead of them, and
        fewer than *end*.
        """
        return self._lines.get(name, [])[start:end]

    def of(self, name: Name) -> list[PendingRequest]:
        """Return the requests to an application, in their order."""
        return [*self._lines.get(name, [])]

    def counts(self) -> Iterator[tuple[Name, int]]:
        """Yield each application that requests wait for, and how many."""
        for name, line in self._lines.items():
            yield name, len(line)


def _place_of(request: PendingRequest) -> tuple[int, int, str]:
    # Several servers may give the same number at once.
    return request.priority, request.number, request.id


def _find(line: list[PendingRequest], request: PendingRequest) -> tuple[int, bool]:
    """Return the index of a request in a line, and whether it is there."""
    place = _place_of(request)
    if not line or _place_of(line[-1]) < place:
        # Most come last.
        return len(line), False
    index = bisect_left(line, place, key=_place_of)
    return index, line[index] is request


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
        """Add a deadline, in seconds of the monotonic clock."""
        if len(self._heap) >= self._many:
            self._heap = [each for each in self._heap if self.matters(each[1])]
            heapify(self._heap)
            self._many = 2 * max(_FEW, len(self._heap))
        heappush(self._heap, (due, request_id))
        self._changed.set()

    async def passed(self, most: int) -> list[str]:
        """Wait for a deadline, and return up to *most* requests whose deadline has passed."""
        while True:
            now, ids = time.monotonic(), list[str]()
            while self._heap and self._heap[0][0] <= now and len(ids) < most:
                ids.append(heappop(self._heap)[1])
            if ids:
                return ids
            self._changed.clear()
            left = self._heap[0][0] - now if self._heap else None
            await wait_for_event(self._changed, left)


#: How many requests to an application compete for a runner at least, and how many more are
#: read at once. A pool needs no more of them to start its next runners.
FRONT, MORE = 256, 64

#: Seconds that requests which have waited for too long may take to end before the next ones
#: do.
_LONGEST_END = 5.0


@attrs.define(eq=False)
class Backlog:
    """
    The requests without a response.

    Arguments:
        process: Starts to have a request answered, which has been read.

        left: Called with a request that is in the backlog no more.
    """

    requests: QueuedRequests
    process: Callable[[PendingRequest], asyncio.Task[None]]
    left: Callable[[PendingRequest], None]
    _pending: dict[str, PendingRequest] = attrs.field(factory=dict)
    _order: QueueOrder = attrs.field(factory=QueueOrder)
    _deadlines: Deadlines = attrs.field(init=False)
    #: Requests that compete for a runner as soon as they have been read.
    _unread: deque[PendingRequest] = attrs.field(factory=deque)
    _reader: asyncio.Future[None] | None = None
    _tasks: Tasks = attrs.field(factory=Tasks)
    _is_closed: bool = False

    def __attrs_post_init__(self) -> None:
        self._deadlines = Deadlines(self._pending.__contains__)

    async def start(self) -> None:
        """Have requests compete for runners, and end those that have waited for too long."""
        self._tasks.spawn(self._watch_deadlines())
        if self._reader is not None:
            await asyncio.wait([self._reader])

    async def close(self) -> None:
        """Stop the processing of all requests."""
        self._is_closed = True
        await self._tasks.close()
        tasks = [pending.task for pending in self._pending.values() if pending.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def add(self, pending: PendingRequest, start_timeout: float | None) -> None:
        """Have a request wait, for so many seconds at most."""
        self._pending[pending.id] = pending
        ahead = self._order.add(pending)
        if ahead < FRONT or pending.was_running:
            self._activate(pending)
            return
        # It is read again when its turn comes.
        pending.request = None
        if start_timeout is not None:
            self._deadlines.add(pending.since + start_timeout, pending.id)

    def take_back(self, pending: PendingRequest) -> None:
        """Have a request wait again that a runner has had."""
        self._order.add(pending)

    def leave_line(self, pending: PendingRequest) -> None:
        """Note that a request waits no more, and let the next ones compete for a runner."""
        ahead = self._order.discard(pending)
        if ahead is None or ahead >= FRONT:
            return
        following = self._order.between(pending.place.application, FRONT - 1, FRONT + MORE)
        if following and not following[0].is_active:
            for each in following:
                self._activate(each)

    def remove(self, pending: PendingRequest) -> None:
        """Forget a request, which has a response or was cancelled."""
        if self._pending.pop(pending.id, None) is not None:
            self.leave_line(pending)
            self.left(pending)

    def find(self, id: str) -> PendingRequest | None:
        """Return a request by its id. None where there is none."""
        return self._pending.get(id)

    def position(self, id: str) -> int:
        """Return how many requests to the same application are ahead of one that waits."""
        pending = self._pending.get(id)
        return 0 if pending is None else self._order.position(pending)

    def of(self, name: Name) -> list[PendingRequest]:
        """Return the requests to an application that wait, in their order."""
        return self._order.of(name)

    def counts(self) -> Iterator[tuple[Name, int]]:
        """Yield each application that requests wait for, and how many."""
        return self._order.counts()

    def _activate(self, pending: PendingRequest) -> None:
        """Have a request compete for a runner."""
        if pending.is_active or self._is_closed:
            return
        pending.is_active = True
        if pending.request is None or self._unread:
            # Those that began to wait earlier come first.
            self._unread.append(pending)
            if self._reader is None or self._reader.done():
                self._reader = self._tasks.spawn(self._read())
        else:
            self._start(pending)

    def _start(self, pending: PendingRequest) -> None:
        pending.task = self.process(pending)
        # Not at the end of its code, which a task that is cancelled at once never runs.
        pending.task.add_done_callback(lambda _: self.remove(pending))

    async def _read(self) -> None:
        """Read requests from the database, many at once and in their order."""
        while self._unread:
            some = [*islice(self._unread, FRONT)]
            ids = [each.id for each in some if each.request is None]
            found = await insist(functools.partial(self.requests.find_all, ids))
            for pending in some:
                self._unread.popleft()
                pending.request = pending.request or found.get(pending.id)
                if pending.request is None or pending.request.is_over:
                    self.remove(pending)
                elif pending.id in self._pending:
                    self._start(pending)

    async def _watch_deadlines(self) -> None:
        """Have requests end that have waited for too long, some of them at a time."""
        while True:
            ids = await self._deadlines.passed(FRONT)
            ending = [self._pending[id] for id in ids if id in self._pending]
            ending = [each for each in ending if not each.is_active]
            for pending in ending:
                # It gets no runner any more, and ends as soon as it asks for one.
                self._activate(pending)
            if self._reader is not None:
                await asyncio.wait([self._reader])
            tasks = [each.task for each in ending if each.task is not None]
            if tasks:
                await asyncio.wait(tasks, timeout=_LONGEST_END)
