"""Futures that are cancelled while their calls run."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from concurrent.futures import CancelledError, as_completed, wait

import pytest

from fal_core.calling.call_futures import CallFuture
from fal_core.errors import Cancelled


class EndedFuture(CallFuture):
    """Counts how often its call was ended."""

    count = 0

    def end_call(self) -> None:
        self.count += 1


def test_a_cancelled_future_is_done_for_all_who_wait() -> None:
    """The waits of ``concurrent.futures`` end too, whether they began before or after."""
    future = EndedFuture()
    found: list[int] = []
    waiting = threading.Thread(target=lambda: found.append(len(wait([future]).done)))
    waiting.start()

    assert future.cancel()

    waiting.join(30)
    assert found == [1]
    assert list(as_completed([future], 0)) == [future]
    assert (future.done(), future.cancelled(), future.running()) == (True, True, False)


def test_the_answer_of_a_cancelled_call_is_dropped() -> None:
    """A result or an error that comes after a cancel changes nothing, and raises nothing."""
    future = EndedFuture()
    future.cancel()

    future.settle(1)
    future.settle(None, LookupError("gone"))

    with pytest.raises(Cancelled) as caught:
        future.result()
    assert isinstance(caught.value, CancelledError)
    with pytest.raises(Cancelled):
        future.exception()


def test_a_future_that_is_done_is_not_cancelled() -> None:
    """The answer that has come is kept."""
    future = EndedFuture()
    future.settle(1)

    assert not future.cancel()

    assert (future.result(), future.exception(), future.count) == (1, None, 0)


def test_a_call_is_ended_once() -> None:
    """
    Several threads may cancel at once, all are told that it is cancelled, and the call is
    ended by one of them.
    """
    future = EndedFuture()
    start = threading.Barrier(8)
    said: list[bool] = []

    def cancel() -> None:
        start.wait()
        said.append(future.cancel())

    threads = [threading.Thread(target=cancel) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert said == [True] * 8
    assert future.count == 1


def test_an_error_of_the_function_is_no_cancel() -> None:
    """A ``CancelledError`` that the function raised arrives as itself."""
    future = EndedFuture()
    future.settle(None, CancelledError("its own"))

    with pytest.raises(CancelledError, match="its own") as caught:
        future.result()
    assert type(caught.value) is CancelledError


def test_a_raised_error_keeps_no_future() -> None:
    """Without a cycle, the future and what its error holds are freed once they are not used."""
    future = EndedFuture()
    future.settle(None, LookupError("gone"))
    known = weakref.ref(future)
    gc.disable()
    try:
        with pytest.raises(LookupError):
            future.result()
        del future
        assert known() is None
    finally:
        gc.enable()


def test_a_cancelled_future_cancels_who_awaits_it() -> None:
    """It can be awaited as any future of ``concurrent.futures``."""

    async def main() -> None:
        future = EndedFuture()
        awaiting = asyncio.wrap_future(future)
        await asyncio.to_thread(future.cancel)
        with pytest.raises(asyncio.CancelledError):
            await awaiting

    asyncio.run(main())


def test_a_callback_runs_on_a_thread_of_its_own() -> None:
    """
    The thread that takes answers goes on while a callback runs; what a callback raises is
    reported, and those that come later run. On a future that has ended it runs at once.
    """
    first, second = CallFuture(), CallFuture()
    found: list[object] = []
    ended = threading.Event()

    def wait_for_second(future: object) -> None:
        found.append(second.result(30))
        raise LookupError

    first.add_done_callback(wait_for_second)
    second.add_done_callback(lambda _: ended.set())

    first.settle(1)
    second.settle(2)

    assert ended.wait(30)
    assert found == [2]
    first.add_done_callback(found.append)
    assert found == [2, first]
