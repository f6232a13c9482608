"""The line of requests that wait for a runner."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from fal_server.routing.runner_pools import WaitingLine, WaitingRequest


def make_request(priority: int = 0, since: float = 0.0) -> Any:
    """Return a request that waits, whose future belongs to the running loop."""
    future = asyncio.get_running_loop().create_future()
    return WaitingRequest(priority, future, since)


def test_requests_come_by_priority_and_then_in_order():
    """The next request is the earliest of the highest priority that still waits."""

    async def main() -> None:
        line = WaitingLine()
        low, first, gone, second = (make_request(priority) for priority in (1, 0, 0, 0))
        for each in (second, low, gone, first):
            line.add(each)
        gone.leave()
        came = []
        while (request := line.first()) is not None:
            came.append(request)
            request.leave()
        assert came == [first, second, low]
        assert (len(line), line.first(), line.longest_wait()) == (0, None, None)

    asyncio.run(main())


def test_request_that_is_over_is_passed_over():
    """A request whose future is done, as it was cancelled, is not next, and waits no more."""

    async def main() -> None:
        line = WaitingLine()
        over, waits = make_request(), make_request()
        line.add(over)
        line.add(waits)
        over.future.cancel()
        assert line.first() is waits
        assert (len(line), over.line) == (1, None)
        assert line.take_all() == [waits]
        assert (len(line), waits.line) == (0, None)

    asyncio.run(main())


def test_requests_move_with_their_age():
    """
    Requests that move to another line keep their ranks and how long they have waited, and
    leave the line that they are in.
    """

    async def main() -> None:
        old, new = WaitingLine(), WaitingLine()
        early, late = make_request(since=1.0), make_request(since=2.0)
        old.add(early)
        new.add(late)
        assert new.longest_wait() == 2.0
        old.move_to(new)
        assert (len(old), len(new)) == (0, 2)
        assert new.first() is early
        assert new.longest_wait() == 1.0
        early.leave()
        assert (new.first(), new.longest_wait()) == (late, 2.0)
        early.leave()
        assert len(new) == 1

    asyncio.run(main())


def test_requests_come_and_leave_in_any_order():
    """Whoever came and left, the next is the first of those that wait."""

    async def main() -> None:
        line, chosen = WaitingLine(), random.Random(0)
        waiting: list[Any] = []
        for _ in range(3000):
            if waiting and chosen.random() < 0.5:
                waiting.pop(chosen.randrange(len(waiting))).leave()
            else:
                waiting.append(make_request(chosen.randrange(2)))
                line.add(waiting[-1])
            assert len(line) == len(waiting)
            assert line.first() is min(waiting, default=None)
        for expected in sorted(waiting):
            assert line.first() is expected
            expected.leave()

    asyncio.run(main())
