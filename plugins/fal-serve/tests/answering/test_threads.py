"""The threads of plain handlers."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import pytest
from anyio import from_thread

from fal_serve.answering.threads import LIMIT, current_pool, left_behind, run_on_thread

PATIENCE = 60

variable: ContextVar[str] = ContextVar("variable", default="")


def test_calls_that_wait_run_beside_each_other():
    """As many calls as the limit run at once, and the others in order."""
    barrier = threading.Barrier(8)

    async def main() -> list[int]:
        current_pool().limit = 8
        return await asyncio.gather(
            *(run_on_thread(barrier.wait, PATIENCE) for _ in range(4 * 8))
        )

    assert sorted(asyncio.run(main())) == sorted(list(range(8)) * 4)


def test_no_more_calls_run_than_the_limit():
    """A call beyond the limit waits until another has ended."""
    running, most = [], []
    together = threading.Barrier(3)

    def call() -> None:
        running.append(None)
        together.wait(PATIENCE)
        most.append(len(running))
        threading.Event().wait(0.002)
        running.pop()

    async def main() -> None:
        current_pool().limit = 3
        await asyncio.gather(*(run_on_thread(call) for _ in range(60)))

    asyncio.run(main())
    assert len(most) == 60
    assert max(most) == 3


def test_short_calls_take_few_threads():
    """Calls that come one after the other need few threads."""

    async def main() -> set[int]:
        return {await run_on_thread(threading.get_ident) for _ in range(200)}

    # A thread that takes a call as it falls asleep may have another started, which is seldom.
    assert len(asyncio.run(main())) <= LIMIT / 10


def test_context_is_that_of_the_caller():
    """A call sees the caller's context variables, and its own changes stay its own."""

    def call() -> str:
        seen = variable.get()
        variable.set("of the call")
        return seen

    async def ask(value: str) -> str:
        variable.set(value)
        seen = await run_on_thread(call)
        assert variable.get() == value
        return seen

    async def main() -> list[str]:
        return await asyncio.gather(*(ask(str(number)) for number in range(50)))

    assert asyncio.run(main()) == [str(number) for number in range(50)]


@pytest.mark.parametrize("error", [LookupError("gone"), SystemExit(3)])
def test_error_reaches_the_caller(error):
    """An exception reaches the caller, even if it is not an Exception."""

    def call() -> None:
        raise error

    async def main() -> BaseException:
        try:
            await run_on_thread(call)
        except BaseException as raised:
            return raised
        raise AssertionError

    assert asyncio.run(main()) is error


def test_stop_iteration_becomes_an_error():
    """StopIteration does not end the generator in which the call is awaited."""

    async def main() -> None:
        await run_on_thread(next, iter(()))

    with pytest.raises(RuntimeError, match="StopIteration"):
        asyncio.run(main())


def test_call_may_use_the_loop():
    """A call can run code in the event loop through anyio, as on FastAPI's own threads."""

    async def double(number: int) -> int:
        # Has the loop run it; it takes no time.
        await asyncio.sleep(0)
        return 2 * number

    async def main() -> int:
        return await run_on_thread(lambda: from_thread.run(double, 21))

    assert asyncio.run(main()) == 42


def test_cancelled_calls_take_no_turn():
    """An abandoned call goes on, and another call takes its place."""
    release = threading.Event()
    begun = threading.Barrier(3)
    ended: list[bool] = []

    def hang() -> None:
        begun.wait(PATIENCE)
        ended.append(release.wait(PATIENCE))

    async def main() -> None:
        current_pool().limit = 2
        hanging = [asyncio.create_task(run_on_thread(hang)) for _ in range(2)]
        waiting = asyncio.create_task(run_on_thread(int, "7"))
        await asyncio.to_thread(begun.wait, PATIENCE)
        # The call must not begin meanwhile.
        await asyncio.sleep(0.05)
        assert not waiting.done()
        for task in hanging:
            task.cancel()
        assert await asyncio.wait_for(waiting, PATIENCE) == 7
        release.set()
        await asyncio.gather(*hanging, return_exceptions=True)
        # Until both threads have ended.
        while len(ended) < 2:
            await asyncio.sleep(0.005)
        # Its thread is one of the two again.
        assert await run_on_thread(int, "8") == 8

    asyncio.run(main())
    assert ended == [True, True]


def test_calls_that_are_left_behind_tell_of_their_end():
    """
    ``left_behind`` lists abandoned calls until they end; nothing is left of a call that
    ends at the moment of its cancellation.
    """

    async def main() -> None:
        left: list[asyncio.Future[None]] = []
        left_behind.set(left)
        begun, release = threading.Event(), threading.Event()

        def hang() -> None:
            begun.set()
            release.wait(PATIENCE)

        hanging = asyncio.create_task(run_on_thread(hang))
        assert await asyncio.to_thread(begun.wait, PATIENCE)
        hanging.cancel()
        await asyncio.wait([hanging])
        (end,) = left
        assert not end.done()
        release.set()
        await asyncio.wait_for(end, PATIENCE)
        for _ in range(300):
            task = asyncio.create_task(run_on_thread(int, "7"))
            # Let the task start.
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        await asyncio.wait_for(asyncio.gather(*left), PATIENCE)
        assert await run_on_thread(int, "8") == 8
        assert not current_pool()._abandoned

    asyncio.run(main())


def test_no_thread_outlives_its_loop():
    """Threads end with their loop; calls after ``close`` get other threads."""
    before = set(threading.enumerate())

    async def main() -> set[threading.Thread]:
        assert await run_on_thread(int, "1") == 1
        first = current_pool()
        await first.close()
        assert await run_on_thread(int, "2") == 2
        assert current_pool() is not first
        await current_pool().close()
        started = set(threading.enumerate()) - before
        # What other tests have left in this process starts threads of its own.
        return {thread for thread in started if "AnyIO" in thread.name}

    started = asyncio.run(main())
    assert started
    for thread in started:
        thread.join(PATIENCE)
        assert not thread.is_alive()
