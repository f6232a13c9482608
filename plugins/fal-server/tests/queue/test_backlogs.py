"""The backlog: only the requests at the front of a line compete for a runner."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
from queued import make_pending, make_request

from fal_server.queue.backlogs import FRONT, MORE, Backlog
from fal_server.queue.pending_requests import PendingRequest
from fal_server.state.databases import Database
from fal_server.store.queued_requests import QueuedRequests

APP = ("owner", "app")


class Processing:
    """
    A backlog whose requests are processed until the test ends them.

    Attributes:
        started: The ids of the requests of which the processing was started, in that order.

        left: Those that have left.
    """

    def __init__(self, database: Database) -> None:
        self.requests = QueuedRequests(database)
        self.started: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}
        self.left: list[str] = []
        self.backlog = Backlog(self.requests, self.process, self.note)

    def process(self, pending: PendingRequest) -> asyncio.Task[None]:
        async def wait() -> None:
            await end.wait()

        assert pending.request is not None
        assert pending.request.id == pending.id
        self.started.append(pending.id)
        end = self.ends[pending.id] = asyncio.Event()
        return asyncio.ensure_future(wait())

    def note(self, pending: PendingRequest) -> None:
        self.left.append(pending.id)

    async def add(
        self, id: str, number: int, timeout: float | None = None, **fields: Any
    ) -> None:
        await self.requests.add(make_request(id, number, **fields))
        self.backlog.add(make_pending(id, number, **fields), timeout)

    async def settle(self, check: Callable[[], bool]) -> None:
        while not check():
            # The backlog reads meanwhile.
            await asyncio.sleep(0.005)


def run(database: Database, work: Callable[[Processing], Awaitable[None]]) -> None:
    async def main() -> None:
        processing = Processing(database)
        await processing.backlog.start()
        try:
            await asyncio.wait_for(work(processing), 60)
        finally:
            await processing.backlog.close()

    asyncio.run(main())


def test_those_behind_the_front_are_little_more_than_ids(database: Database):
    """
    Requests behind the front of their line are not in memory as a whole, and are processed in
    their order as others leave, whether they end, are taken by a runner or are removed. Many
    of them are read at once.
    """
    many = FRONT + 3 * MORE

    async def work(processing: Processing) -> None:
        backlog = processing.backlog
        for number in range(many):
            await processing.add(f"{number:04}", number)
        await processing.add("other", 0, alias="other")
        assert len(processing.started) == FRONT + 1
        waiting = backlog.of(APP)
        assert [each.request is None for each in waiting[FRONT - 1 : FRONT + 1]] == [
            False,
            True,
        ]
        backlog.remove(waiting[FRONT + 2])

        processing.ends["0000"].set()
        await processing.settle(lambda: len(processing.started) == FRONT + MORE + 2)
        for pending in waiting[1:MORE]:
            backlog.leave_line(pending)
        await asyncio.sleep(0)
        assert len(processing.started) == FRONT + MORE + 2
        backlog.leave_line(waiting[MORE])
        backlog.leave_line(waiting[MORE + 1])
        await processing.settle(lambda: len(processing.started) > FRONT + MORE + 2)
        backlog.remove(waiting[-1])
        for pending in waiting[MORE + 2 : 3 * MORE]:
            backlog.leave_line(pending)
        await processing.settle(lambda: len(processing.started) == many - 1)
        expected = [f"{number:04}" for number in range(many - 1) if number != FRONT + 2]
        assert [each for each in processing.started if each != "other"] == expected
        assert {*processing.left} == {"0000", waiting[-1].id, waiting[FRONT + 2].id}

    run(database, work)


def test_request_of_a_higher_priority_gets_ahead(database: Database):
    """
    A request of a higher priority competes for a runner at once, however many of a lower one
    wait.
    """

    async def work(processing: Processing) -> None:
        for number in range(FRONT + 1):
            await processing.add(f"low {number}", number, priority=1)
        await processing.add("normal", FRONT + 1)
        assert processing.started[-1] == "normal"
        assert processing.backlog.position("normal") == 0
        assert processing.backlog.position(f"low {FRONT}") == FRONT + 1

    run(database, work)


def test_request_that_has_waited_for_too_long_is_processed(database: Database):
    """
    A request behind the front whose time is over is processed, to be told so, and so is one
    that a runner had when an earlier server ended.
    """

    async def work(processing: Processing) -> None:
        for number in range(FRONT):
            await processing.add(str(number), number)
        await processing.add("never", FRONT, 3600.0)
        await processing.add("soon", FRONT + 1, 0.05)
        await processing.settle(lambda: processing.started[-1] == "soon")
        assert len(processing.started) == FRONT + 1

        await processing.requests.add(make_request("run", FRONT + 2))
        pending = attrs.evolve(make_pending("run", FRONT + 2), was_running=True)
        processing.backlog.add(pending, None)
        assert processing.started[-1] == "run"

    run(database, work)


def test_request_that_is_gone_is_forgotten(database: Database):
    """A request that was answered or deleted before it was read leaves the backlog."""

    async def work(processing: Processing) -> None:
        for number in range(FRONT + 3):
            await processing.add(str(number), number)
        await processing.requests.change(
            str(FRONT), state="cancelled", ended_at=time.time() - 1e9
        )
        await processing.requests.delete_old()
        await processing.requests.change(str(FRONT + 1), state="cancelled")
        processing.ends["0"].set()
        await processing.settle(lambda: processing.started[-1] == str(FRONT + 2))
        assert processing.left == ["0", str(FRONT), str(FRONT + 1)]

    run(database, work)
