"""Tasks: work in the background, and work that must not be left half done."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from fal_server.errors import Fenced, Invalid, StateUnavailable, StorageFull
from fal_server.state.tasks import (
    Tasks,
    insist,
    run_in_thread,
    uninterrupted,
    wait_for_event,
)


def test_error_of_a_task_is_logged(caplog: pytest.LogCaptureFixture):
    """
    The error of a task that nobody awaits is logged with its traceback; a task that is
    cancelled is no error.
    """

    async def fail() -> None:
        raise LookupError("lost")

    async def main() -> None:
        tasks = Tasks()
        failing, waiting = tasks.spawn(fail()), tasks.spawn(asyncio.Event().wait())
        await asyncio.wait([failing])
        waiting.cancel()
        await asyncio.wait([waiting])

    asyncio.run(main())
    (record,) = caplog.records
    assert record.message == "A background task failed"
    assert isinstance(record.exc_info[1], LookupError)


@pytest.mark.parametrize("error", [LookupError("lost"), Fenced("Another replica decides.")])
def test_error_of_work_whose_caller_has_gone(
    error: Exception, caplog: pytest.LogCaptureFixture
):
    """
    Nobody else gets the error of work that goes on without its caller, so that it is logged,
    unless the work is another replica's by now.
    """

    async def main() -> None:
        go_on, ended = asyncio.Event(), asyncio.Event()

        @uninterrupted
        async def fail() -> None:
            await go_on.wait()
            ended.set()
            raise error

        caller = asyncio.ensure_future(fail())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.wait([caller])
        go_on.set()
        await ended.wait()

    asyncio.run(main())
    gc.collect()
    expected = ["A background task failed"] if isinstance(error, LookupError) else []
    assert [each.message for each in caplog.records] == expected


def test_closing_waits_until_all_tasks_have_ended():
    """
    Closing cancels the tasks and waits for what they do at their end. What is started
    afterwards is cancelled before it does anything, and leaves no task.
    """
    done: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            done.append("cleaned up")

    async def late() -> None:
        done.append("started")

    async def main() -> None:
        tasks = Tasks()
        tasks.spawn(work())
        # Let it begin.
        await asyncio.sleep(0)
        await tasks.close()
        assert done == ["cleaned up"]
        task = tasks.spawn(late())
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(main())
    assert done == ["cleaned up"]


def test_uninterrupted_work_goes_on_without_its_caller():
    """
    Work that must not be interrupted ends even if its caller is cancelled, and returns its
    result to a caller that is not.
    """
    done: list[int] = []

    async def main() -> None:
        begun, go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

        @uninterrupted
        async def double(number: int) -> int:
            begun.set()
            await go_on.wait()
            done.append(number)
            ended.set()
            return 2 * number

        caller = asyncio.ensure_future(double(1))
        await begun.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert done == []
        go_on.set()
        await asyncio.wait_for(ended.wait(), 60)
        assert await double(2) == 4

    asyncio.run(main())
    assert done == [1, 2]


@pytest.mark.parametrize("fails", [False, True])
def test_cancelled_task_ends_after_its_thread(fails: bool):
    """A task that is cancelled, even twice, while its work is done in a thread ends after that."""
    begun, may_end = threading.Event(), threading.Event()
    done: list[str] = []

    def work() -> None:
        begun.set()
        may_end.wait(60)
        done.append("done")
        if fails:
            raise LookupError("lost")

    async def main() -> None:
        task = asyncio.create_task(run_in_thread(work))
        await asyncio.to_thread(begun.wait, 60)
        for _ in range(2):
            task.cancel()
            await asyncio.sleep(0.01)
            assert not task.done()
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done == ["done"]

    asyncio.run(main())


def test_work_is_repeated_until_the_state_can_be_written():
    """Only trouble with the state is waited out; any other refusal is raised at once."""
    trouble = [StateUnavailable("gone"), StorageFull("full")]

    async def write() -> str:
        if trouble:
            raise trouble.pop()
        return "written"

    async def refuse() -> None:
        tries.append(True)
        raise Invalid("no")

    tries: list[bool] = []
    assert asyncio.run(insist(write, pause=0)) == "written"
    with pytest.raises(Invalid):
        asyncio.run(insist(refuse, pause=0))
    assert tries == [True]


@pytest.mark.parametrize("turns", range(4))
def test_waiting_for_an_event_is_cancelled_as_it_is_set(turns: int):
    """
    A task that waits for one event after the other ends when it is cancelled, also so many
    turns of the loop after an event was set. A wait without one returns in time.
    """

    async def main() -> None:
        event, tasks = asyncio.Event(), Tasks()

        async def follow() -> None:
            while True:
                await wait_for_event(event, 600.0)
                event.clear()

        tasks.spawn(follow())
        # Let it begin, and the wait that it has begun.
        for _ in range(3):
            await asyncio.sleep(0)
        event.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        await asyncio.wait_for(tasks.close(), 20.0)
        assert not await wait_for_event(asyncio.Event(), 0.01)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
