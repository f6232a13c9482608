"""Laws of asynchronous code, in the function and around it."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import AsyncIterator

import pytest

from fal_core.errors import UserFunctionException
from fal_testing.harness.capabilities import needs_of_the_law, requires
from fal_testing.harness.expectations import expect, expect_error
from fal_testing.harness.marks import Isolated
from fal_testing.hosts.watched import WatchedHost

LOOK = "A worker runs what an `async def` function returns; pass the call on as it is."


def test_an_async_function_is_awaited(isolated: Isolated) -> None:
    """Calling an ``async def`` function gives what it returns, not a coroutine."""

    @isolated()
    async def total(first: int, second: int) -> int:
        import asyncio

        await asyncio.sleep(0)
        return first + second

    expect(total(1, 2), 3, "What an `async def` function returned", LOOK)
    results = list(total.map([1, 2, 3], [1, 1, 1]))
    expect(results, [2, 3, 4], "The results of a map over an `async def` function", LOOK)


def test_an_async_function_raises_what_it_raised(isolated: Isolated) -> None:
    """The error of an ``async def`` function arrives as itself."""

    @isolated()
    async def reject() -> None:
        raise LookupError("gone")

    with expect_error(LookupError, LOOK, match="gone"):
        reject()


def test_calls_can_be_awaited(isolated: Isolated) -> None:
    """``aio`` gives awaitable results, several at once."""

    @isolated()
    def double(number: int) -> int:
        return 2 * number

    async def main() -> list[int]:
        return [*await asyncio.gather(*(double.aio(number) for number in range(5)))]

    look = "launch and the sink may be called on any thread, in an event loop too."
    expect(asyncio.run(main()), [0, 2, 4, 6, 8], "The results of five awaited calls", look)


def test_a_call_that_raises_cancels_no_task(isolated: Isolated) -> None:
    """
    What a function raises does not look to the task that awaits it as if that was
    cancelled, a ``CancelledError`` of either kind among it.
    """

    @isolated()
    def forsake(kind: str) -> None:
        import asyncio
        import concurrent.futures

        module = asyncio if kind == "asyncio" else concurrent.futures
        raise module.CancelledError(kind)

    async def main() -> None:
        look = "Pass the outcome on: what the function raised is no end of the host."
        with expect_error(UserFunctionException, look, match="asyncio"):
            await forsake.aio("asyncio")
        with expect_error(concurrent.futures.CancelledError, look, match="concurrent"):
            await forsake.aio("concurrent")

    asyncio.run(main())


@requires("stream")
def test_streams_can_be_iterated_over_asynchronously(isolated: Isolated) -> None:
    """``aio`` gives an asynchronous iterator of what a generator yields."""

    @isolated()
    async def pace() -> AsyncIterator[int]:
        for number in range(10):
            yield number

    async def main() -> list[int]:
        return [item async for item in pace.aio()]

    look = "Pass on each Item, in order, and the outcome after the last one."
    expect(asyncio.run(main()), list(range(10)), "The items of an asynchronous stream", look)


@requires("cancel")
def test_cancelling_the_task_ends_the_call(
    isolated: Isolated, watched: WatchedHost, law_timeout: float
) -> None:
    """Cancelling the task that awaits a call ends the call."""

    @isolated()
    def doze(seconds: float) -> None:
        import time

        time.sleep(seconds)

    async def main() -> None:
        task = asyncio.ensure_future(doze.on(watched).aio(10 * law_timeout))
        while not watched.running:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert watched.all_ended(law_timeout), (
        "The task that awaited a call was cancelled, and the call goes on. "
        f"Execution.cancel has to end it, with Exited. {needs_of_the_law()}"
    )
