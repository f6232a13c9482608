"""Deadlines of requests."""

from __future__ import annotations

import asyncio
import time

from fal_server.queue.backlogs import Deadlines


def test_deadlines_pass_in_their_order():
    """
    Requests are returned once their deadline has passed, the earliest first and so many at a
    time, also where an earlier deadline is added meanwhile.
    """

    async def main() -> None:
        deadlines, now = Deadlines(lambda _: True), time.monotonic()
        for name, due in (
            ("c", now - 1),
            ("a", now - 3),
            ("never", now + 3600),
            ("b", now - 2),
        ):
            deadlines.add(due, name)
        assert await deadlines.passed(2) == ["a", "b"]
        assert await deadlines.passed(2) == ["c"]
        waiting = asyncio.ensure_future(deadlines.passed(2))
        await asyncio.sleep(0)
        assert not waiting.done()
        due = time.monotonic() + 0.05
        deadlines.add(due, "soon")
        assert await waiting == ["soon"]
        assert time.monotonic() >= due

    asyncio.run(asyncio.wait_for(main(), 60))


def test_deadlines_that_no_longer_matter_take_no_memory():
    """The deadlines of requests that have ended are forgotten, however far away they are."""

    async def main() -> None:
        alive = {"alive"}
        deadlines = Deadlines(alive.__contains__)
        deadlines.add(time.monotonic() - 1, "alive")
        for number in range(20_000):
            deadlines.add(time.monotonic() + 1e6, str(number))
        assert len(deadlines._heap) < 5000
        assert await deadlines.passed(10) == ["alive"]

    asyncio.run(asyncio.wait_for(main(), 60))
