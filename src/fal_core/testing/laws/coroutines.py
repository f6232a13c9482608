"""
Laws of asynchronous code, in the function and around it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import AsyncIterator

import pytest

from fal_core.errors import UserFunctionException
from fal_core.testing.harness.capabilities import requires
from fal_core.testing.harness.marks import Isolated
from fal_core.testing.hosts.watched import WatchedHost


def test_an_async_function_is_awaited(isolated: Isolated) -> None:
    """
    Calling an ``async def`` function gives what it returns, not a coroutine.
    """

    @isolated()
    async def total(first: int, second: int) -> int:
        import asyncio

        await asyncio.sleep(0)
        return first + second

    assert total(1, 2) == 3
    assert list(total.map([1, 2, 3], [1, 1, 1])) == [2, 3, 4]


def test_an_async_function_raises_what_it_raised(isolated: Isolated) -> None:
    """
    The error of an ``async def`` function arrives as itself.
    """

    @isolated()
    async def reject() -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        reject()


def test_calls_can_be_awaited(isolated: Isolated) -> None:
    """
    ``aio`` gives awaitable results, several at once.
    """

    @isolated()
    def double(number: int) -> int:
        return 2 * number

    async def main() -> list[int]:
        return [*await asyncio.gather(*(double.aio(number) for number in range(5)))]

    assert asyncio.run(main()) == [0, 2, 4, 6, 8]


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
        with pytest.raises(UserFunctionException, match="asyncio"):
            await forsake.aio("asyncio")
        with pytest.raises(concurrent.futures.CancelledError, match="concurrent"):
            await forsake.aio("concurrent")

    asyncio.run(main())


@requires("stream")
def test_streams_can_be_iterated_over_asynchronously(isolated: Isolated) -> None:
    """
    ``aio`` gives an asynchronous iterator of what a generator yields.
    """

    @isolated()
    async def pace() -> AsyncIterator[int]:
        for number in range(10):
            yield number

    async def main() -> list[int]:
        return [item async for item in pace.aio()]

    assert asyncio.run(main()) == list(range(10))


@requires("cancel")
def test_cancelling_the_task_ends_the_call(
    isolated: Isolated, watched: WatchedHost, law_timeout: float
) -> None:
    """
    Cancelling the task that awaits a call ends the call.
    """

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
    assert watched.all_ended(law_timeout)
