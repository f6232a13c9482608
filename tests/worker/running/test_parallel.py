"""The executor of several calls at a time."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from pipe_hosts import PATIENCE, PipeHost

from fal_core import function
from fal_core.errors import Cancelled, UserFunctionException
from fal_core.events import Item, Log
from fal_core.workers import frames_out
from fal_testing.harness.processes import wait_until
from fal_testing.harness.recorders import Recorder


@pytest.fixture
def host(pipe_host: PipeHost) -> PipeHost:
    """A host whose worker runs several calls at a time."""
    pipe_host.callbacks["settings"] = {"multiplex": 4}
    return pipe_host


def record(isolated: Any, *arguments: Any) -> Recorder:
    recorder = Recorder(isolated.make_launcher())
    recorder.launch(*arguments)
    return recorder


def wait_in_thread(began: Path, until: Path) -> int:
    """Run until a file is there, whatever happens to the call."""
    import time

    began.touch()
    while not until.exists():
        time.sleep(0.01)
    return os.getpid()


def test_a_call_runs_the_function_that_it_was_sent_with(
    host: PipeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function that takes the slot of another changes no call that was sent before."""
    # Each function takes the slot of the one before.
    monkeypatch.setattr(frames_out, "FUNCTION_SLOTS", 1)
    double = function("current", host=host)(lambda x: ("double", 2 * x))
    negate = function("current", host=host)(lambda x: ("negate", -x))
    futures = [each.submit(x) for x in range(100) for each in (double, negate)]
    results = [future.result(PATIENCE) for future in futures]
    assert results[::2] == [("double", 2 * x) for x in range(100)]
    assert results[1::2] == [("negate", -x) for x in range(100)]


def test_a_thread_that_is_cancelled_is_left_behind(host: PipeHost, tmp_path: Path) -> None:
    """Its call ends at once; the worker finishes the others, and then ends to be replaced."""
    waiting = function("current", host=host)(wait_in_thread)
    names = ("cancelled", "other")
    calls = [record(waiting, tmp_path / name, tmp_path / f"{name} ends") for name in names]
    assert wait_until(lambda: all((tmp_path / name).exists() for name in names), PATIENCE)
    cancelled, other = calls
    cancelled.cancel(PATIENCE)
    assert isinstance(cancelled.wait(PATIENCE).reason, Cancelled)
    assert host.worker is not None
    assert host.worker.stopped
    assert not other.ended

    (tmp_path / "other ends").touch()
    assert other.result(PATIENCE)
    assert host.process is not None
    assert host.process.wait(PATIENCE) == 0


def test_a_task_that_is_cancelled_leaves_its_worker_alone(
    host: PipeHost, tmp_path: Path
) -> None:
    """A coroutine is cancelled as asyncio cancels, and cleans up; the worker takes more calls."""
    ended = tmp_path / "ended"

    @function("current", host=host)
    async def wait(ended: Path) -> None:
        import asyncio

        try:
            print("waiting", flush=True)
            # Ends by being cancelled.
            await asyncio.sleep(600)
        finally:
            ended.touch()

    recorder = record(wait, ended)
    recorder.wait_for(Log, PATIENCE)
    recorder.cancel(PATIENCE)
    assert isinstance(recorder.wait(PATIENCE).reason, Cancelled)
    assert ended.exists()
    assert host.worker is not None
    assert not host.worker.stopped
    assert function("current", host=host)(os.getpid)()


def test_a_coroutine_that_cancels_itself_has_raised(host: PipeHost) -> None:
    """A CancelledError of the function's own is an exception like any other."""

    @function("current", host=host)
    async def give_up() -> None:
        import asyncio

        raise asyncio.CancelledError("enough")

    # Before Python 3.11 a task does not keep what its CancelledError says.
    said = "enough" if sys.version_info >= (3, 11) else "CancelledError"
    with pytest.raises(UserFunctionException, match=said) as caught:
        give_up.submit().result(PATIENCE)
    assert type(caught.value.__cause__).__name__ == "CancelledError"


@pytest.mark.parametrize("way", ["function", "generator"])
def test_a_task_that_exits_leaves_the_others_alone(
    host: PipeHost, tmp_path: Path, way: str
) -> None:
    """``SystemExit`` in a task ends its call, and the loop that all calls share goes on."""
    reached, exited = tmp_path / "reached", tmp_path / "exited"

    @function("current", host=host)
    async def wait(reached: Path, exited: Path) -> str:
        import asyncio

        reached.touch()
        while not exited.exists():
            await asyncio.sleep(0.01)
        return "done"

    @function("current", host=host)
    async def leave() -> None:
        raise SystemExit(3)

    @function("current", host=host)
    async def leave_later() -> AsyncIterator[int]:
        yield 1
        raise SystemExit(3)

    def call() -> None:
        if way == "function":
            leave.submit().result(PATIENCE)
        else:
            list(leave_later())

    waiting = wait.submit(reached, exited)
    assert wait_until(reached.exists, PATIENCE)
    with pytest.raises(UserFunctionException) as caught:
        call()
    assert type(caught.value.__cause__) is SystemExit
    exited.touch()
    assert waiting.result(PATIENCE) == "done"


def test_coroutines_share_a_loop_and_keep_their_context(host: PipeHost) -> None:
    """The tasks of all calls are in one loop, each with the context of its call."""

    @function("current", host=host)
    async def tell(name: str) -> int:
        import asyncio

        print(name, flush=True)
        await asyncio.sleep(0)
        return id(asyncio.get_running_loop())

    recorders = {name: record(tell, name) for name in ("one", "two")}
    loops = {recorder.result(PATIENCE) for recorder in recorders.values()}
    assert len(loops) == 1
    for name, recorder in recorders.items():
        assert [log.message for log in recorder.printed] == [name]


def test_threads_are_used_again(host: PipeHost) -> None:
    """A call after another runs on the thread that has become idle."""
    isolated = function("current", host=host)(threading.get_ident)
    first = isolated()
    # The thread is idle only once it has sent the outcome.
    assert wait_until(lambda: isolated() == first, PATIENCE)


@pytest.mark.parametrize("way", ["thread", "task"])
def test_a_generator_waits_for_credit(host: PipeHost, way: str) -> None:
    """Items are sent as the caller takes them, and no more than a window of them before."""

    @function("current", host=host)
    def count(limit: int) -> Iterator[int]:
        for number in range(limit):
            print(number, flush=True)
            yield number

    @function("current", host=host)
    async def count_async(limit: int) -> AsyncIterator[int]:
        for number in range(limit):
            print(number, flush=True)
            yield number

    items = (count if way == "thread" else count_async).stream(200)
    assert list(items) == list(range(200))


def test_a_generator_is_cancelled_while_it_waits_for_credit(
    host: PipeHost, tmp_path: Path
) -> None:
    """A stream that nobody takes from is closed where it stands, and its worker goes on."""
    closed = tmp_path / "closed"

    class Reluctant(Recorder):
        def _give_credit(self) -> None:
            """Give none."""

    @function("current", host=host)
    def count(closed: Path) -> Iterator[int]:
        try:
            for number in range(100):
                print(number, flush=True)
                yield number
        finally:
            closed.touch()

    recorder = Reluctant(count.make_launcher())
    recorder.launch(closed)
    # It prints one more than it may send.
    assert wait_until(lambda: len(recorder.printed) == 17, PATIENCE)
    recorder.cancel(PATIENCE)
    assert isinstance(recorder.wait(PATIENCE).reason, Cancelled)
    assert len([event for event in recorder.events if isinstance(event, Item)]) == 16
    assert closed.exists()
    assert host.worker is not None
    assert not host.worker.stopped


def test_items_of_a_batch_fail_apart(host: PipeHost) -> None:
    """What one item of a batch raises, SystemExit among it, is its own."""

    @function("current", host=host)
    def halve(number: int) -> float:
        import sys

        if number % 2:
            sys.exit(number)
        return number / 2

    outcomes = list(halve.map(range(6), return_exceptions=True))
    assert outcomes[::2] == [0, 1, 2]
    assert [error.__cause__.code for error in outcomes[1::2]] == [1, 3, 5]


@pytest.mark.faults
def test_the_fork_of_a_thread_does_not_answer(host: PipeHost) -> None:
    """A function that forks on a thread and returns on both sides answers once."""

    @function("current", host=host)
    def fork() -> int:
        import warnings

        warnings.simplefilter("ignore")
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            return 1
        return 2

    recorder = record(fork)
    assert recorder.result(PATIENCE) == 1
    assert function("current", host=host)(os.getpid)()


def test_builtins_are_restored_once_no_call_runs(host: PipeHost, tmp_path: Path) -> None:
    """
    The end of a call undoes nothing that another one does meanwhile; that worker takes no
    other call, and the line that says so blames neither.
    """

    def patch(began: Path, until: Path) -> tuple[bool, bool]:
        import builtins
        import time
        from unittest import mock

        genuine = builtins.sorted
        with mock.patch("builtins.sorted") as patched:
            began.touch()
            while not until.exists():
                time.sleep(0.01)
            is_there = builtins.sorted is patched
        return is_there, builtins.sorted is genuine

    ends = tmp_path / "ends"
    patching = record(function("current", host=host)(patch), tmp_path / "began", ends)
    assert wait_until((tmp_path / "began").exists, PATIENCE)
    other = record(function("current", host=host)(os.getpid))
    assert other.result(PATIENCE)
    assert [log.message for log in other.logs] == [
        "One of the functions that run here has replaced builtins of Python (sorted), so this "
        "worker takes no other call."
    ]
    assert host.worker is not None
    assert wait_until(lambda: host.worker is not None and host.worker.stopped, PATIENCE)
    ends.touch()
    assert patching.result(PATIENCE) == (True, True)
    assert not patching.logs
