"""Calls that are awaited."""

from __future__ import annotations

import ast
import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import pytest
from pipe_hosts import PipeHost

from fal_core import function
from fal_core.calls import Call
from fal_core.errors import Cancelled, OptionError
from fal_core.events import Sink
from fal_core.hosts import Execution
from fal_testing import InProcessHost
from fal_testing.harness.processes import wait_until

#: Seconds that anything may take.
PATIENCE = 30

isolated = function("current", host=InProcessHost())


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, PATIENCE))


@isolated
def double(number: int) -> int:
    return 2 * number


@isolated
def count(limit: int) -> Iterator[int]:
    yield from range(limit)


def test_a_call_is_awaited() -> None:
    """Awaiting gives the result or raises what the function raised."""

    async def main() -> Any:
        assert await double.aio(4) == 8
        assert await asyncio.gather(*(double.aio(number) for number in range(5))) == [
            *range(0, 10, 2)
        ]
        await double.aio(None)

    with pytest.raises(TypeError):
        run(main())


def test_items_are_iterated_over() -> None:
    """A generator function, called or streamed, and a map give asynchronous iterators."""

    async def main() -> None:
        assert [item async for item in count.aio(3)] == [0, 1, 2]
        assert [item async for item in count.aio.stream(3)] == [0, 1, 2]
        assert [item async for item in double.aio.map([1, 2])] == [2, 4]

    run(main())


def test_a_stream_that_nobody_takes_from_is_closed(tmp_path: Path) -> None:
    """A loop that is left ends the call whose items it took."""
    closed = tmp_path / "closed"

    @isolated
    def give(closed: str) -> Iterator[int]:
        try:
            yield from range(10_000)
        finally:
            with open(closed, "w"):
                pass

    async def main() -> None:
        items = give.aio(str(closed))
        async for item in items:
            assert item == 0
            break
        await items.aclose()
        assert await asyncio.to_thread(wait_until, closed.exists, PATIENCE)

    run(main())


def test_the_loop_runs_while_a_call_does(tmp_path: Path) -> None:
    """Waiting for a call keeps no other task of the loop from running."""
    until = tmp_path / "until"

    @isolated
    def wait(until: Path) -> str:
        import time

        while not until.exists():
            time.sleep(0.01)
        return "done"

    async def main() -> None:
        task = asyncio.ensure_future(wait.aio(until))
        until.touch()
        assert await task == "done"

    run(main())


@attrs.define(eq=False, slots=False)
class SlowHost(PipeHost):
    """Launches a call once it is told to."""

    asked: threading.Event = attrs.field(factory=threading.Event)
    told: threading.Event = attrs.field(factory=threading.Event)
    executions: list[Any] = attrs.field(factory=list)

    def launch(self, call: Call, sink: Sink) -> Execution:
        self.asked.set()
        assert self.told.wait(PATIENCE)
        execution = super().launch(call, sink)
        self.executions.append(execution)
        return execution


@pytest.fixture
def host() -> Iterator[SlowHost]:
    host = SlowHost()
    yield host
    host.end()


@pytest.mark.parametrize("launched", [True, False], ids=["launched", "while it is launched"])
def test_cancelling_the_task_ends_the_call(
    host: SlowHost, tmp_path: Path, *, launched: bool
) -> None:
    """A call is ended whether its task is cancelled while it runs or before it was launched."""
    began = tmp_path / "began"

    @function("current", host=host)
    def wait(began: Path) -> None:
        import time

        began.touch()
        # Ends by being cancelled.
        time.sleep(600)

    async def wait_for(condition: Callable[[], bool]) -> None:
        assert await asyncio.to_thread(wait_until, condition, PATIENCE)

    async def main() -> None:
        task = asyncio.ensure_future(wait.aio(began))
        await wait_for(host.asked.is_set)
        if launched:
            host.told.set()
            await wait_for(began.exists)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        host.told.set()
        await wait_for(lambda: bool(host.executions) and host.executions[0].ended)

    run(main())
    assert host.executions[0].cancelling


def test_a_call_that_others_end_raises(host: SlowHost, tmp_path: Path) -> None:
    """
    A task that was not cancelled itself sees ``Cancelled``, and no ``CancelledError`` of
    asyncio, if its call is ended in another way.
    """
    began = tmp_path / "began"
    host.told.set()

    @function("current", host=host)
    def wait(began: Path) -> None:
        import time

        began.touch()
        # Ends by being cancelled.
        time.sleep(600)

    async def main() -> None:
        task = asyncio.ensure_future(wait.aio(began))
        assert await asyncio.to_thread(wait_until, began.exists, PATIENCE)
        host.executions[0].cancel(PATIENCE)
        with pytest.raises(Cancelled):
            await task

    run(main())


def test_a_call_that_its_executor_drops_raises() -> None:
    """A call that a caller's own executor cancels while it waits there raises ``Cancelled``."""

    class Noting(ThreadPoolExecutor):
        def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
            future: Future[Any] = super().submit(*args, **kwargs)
            given.append(future)
            return future

    given: list[Future[Any]] = []
    release = threading.Event()
    executor = Noting(1)
    executor.submit(release.wait)
    waiting = function("current", host=InProcessHost())(double.raw_func)
    waiting.executor = executor

    async def main() -> None:
        task = asyncio.ensure_future(waiting.aio(1))
        assert await asyncio.to_thread(wait_until, lambda: len(given) == 2, PATIENCE)
        executor.shutdown(wait=False, cancel_futures=True)
        release.set()
        with pytest.raises(Cancelled):
            await task

    run(main())


def test_a_stream_that_raises_cancels_no_task() -> None:
    """A ``CancelledError`` that a generator function raises arrives as itself."""

    @isolated
    def give() -> Iterator[int]:
        yield 1
        raise CancelledError("its own")

    async def main() -> None:
        items = give.aio()
        assert await anext(items) == 1
        with pytest.raises(CancelledError, match="its own") as caught:
            await anext(items)
        assert type(caught.value) is CancelledError

    run(main())


@isolated
async def shout(text: str) -> str:
    return text.upper()


class Speaker:
    @isolated
    async def repeat(self, text: str) -> str:
        return 2 * text


def test_a_coroutine_that_does_not_await_aio_is_told_so() -> None:
    """
    A call of an ``async def`` function in the own frame of a coroutine raises at once, and
    says what to write; it would block the loop, and give no awaitable.
    """

    async def generate() -> AsyncIterator[str]:
        yield shout("a")

    async def main() -> None:
        with pytest.raises(OptionError, match=r"<isolated function shout .*'await shout\.aio"):
            await shout("a")
        with pytest.raises(OptionError, match=r"'await repeat\.aio"):
            Speaker().repeat("a")
        with pytest.raises(OptionError, match="'await"):
            await anext(generate())
        assert await shout.aio("a") == "A"
        assert await Speaker().repeat.aio("a") == "aa"
        assert double(1) == 2

    run(main())


def test_others_in_a_loop_call_as_ever() -> None:
    """
    A plain function inside of a running loop, a callback, a thread and the cell of a
    notebook get the result of an ``async def`` function by calling it.
    """
    found: list[str] = []

    def call(text: str) -> str:
        return shout(text)

    async def main() -> None:
        found.append(call("plain"))
        loop = asyncio.get_running_loop()
        called = loop.create_future()
        loop.call_soon(lambda: called.set_result(shout("callback")))
        found.append(await called)
        found.append(await asyncio.to_thread(shout, "thread"))
        cell = "import asyncio\nawait asyncio.sleep(0)\nfound.append(shout('cell'))"
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        names = {"found": found, "shout": shout}
        await eval(compile(cell, "<cell>", "exec", flags=flags), names)

    run(main())
    assert found == ["PLAIN", "CALLBACK", "THREAD", "CELL"]
