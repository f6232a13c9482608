"""
The backlog: the queued requests without a response, and which of them compete for a runner.

There may be very many. Only those at the front of the line of each application are in memory
as a whole and wait in the pool of the application; of the others there is little more than
the id.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice

import attrs

from fal_server.queue.deadlines import Deadlines
from fal_server.queue.pending_requests import PendingRequest
from fal_server.queue.queue_orders import QueueOrder
from fal_server.queue.queue_room import Name
from fal_server.state.tasks import Tasks, insist
from fal_server.store.queued_requests import QueuedRequests

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
        """
        Have requests compete for runners, and end those that have waited for too long.
        """
        self._tasks.spawn(self._watch_deadlines())
        if self._reader is not None:
            await asyncio.wait([self._reader])

    async def close(self) -> None:
        """
        Stop the processing of all requests.
        """
        self._is_closed = True
        await self._tasks.close()
        tasks = [pending.task for pending in self._pending.values() if pending.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def add(self, pending: PendingRequest, start_timeout: float | None) -> None:
        """
        Have a request wait, for so many seconds at most.
        """
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
        """
        Have a request wait again that a runner has had.
        """
        self._order.add(pending)

    def leave_line(self, pending: PendingRequest) -> None:
        """
        Note that a request waits no more, and let the next ones compete for a runner.
        """
        ahead = self._order.discard(pending)
        if ahead is None or ahead >= FRONT:
            return
        following = self._order.between(pending.place.application, FRONT - 1, FRONT + MORE)
        if following and not following[0].is_active:
            for each in following:
                self._activate(each)

    def remove(self, pending: PendingRequest) -> None:
        """
        Forget a request, which has a response or was cancelled.
        """
        if self._pending.pop(pending.id, None) is not None:
            self.leave_line(pending)
            self.left(pending)

    def find(self, id: str) -> PendingRequest | None:
        """
        Return a request by its id. None where there is none.
        """
        return self._pending.get(id)

    def position(self, id: str) -> int:
        """
        Return how many requests to the same application are ahead of one that waits.
        """
        pending = self._pending.get(id)
        return 0 if pending is None else self._order.position(pending)

    def of(self, name: Name) -> list[PendingRequest]:
        """
        Return the requests to an application that wait, in their order.
        """
        return self._order.of(name)

    def counts(self) -> Iterator[tuple[Name, int]]:
        """
        Yield each application that requests wait for, and how many.
        """
        return self._order.counts()

    def _activate(self, pending: PendingRequest) -> None:
        """
        Have a request compete for a runner.
        """
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
        """
        Read requests from the database, many at once and in their order.
        """
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
        """
        Have requests end that have waited for too long, some of them at a time.
        """
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
