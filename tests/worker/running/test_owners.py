"""Owners: which call a line belongs to that a thread or a task has printed."""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fal_core import function
from fal_core.events import Log
from fal_core_worker.running.owners import StartedThreads
from fal_core_worker.stream.frames import LEFT
from fal_host_local import LocalHost
from fal_testing import InProcessHost
from fal_testing.harness.processes import wait_until
from fal_testing.harness.recorders import Recorder

#: Sets the options of functions that share one worker.
SHARED = {"max_concurrency": 1, "keep_alive": 60}


def record(isolated: Any, *arguments: Any) -> Recorder:
    recorder = Recorder(isolated.make_launcher())
    recorder.launch(*arguments)
    recorder.wait(30)
    return recorder


def keep(name: str, value: Any) -> Any:
    """Return what *name* stands for in all calls of this worker, *value* at first."""
    import builtins

    return builtins.__dict__.setdefault(f"test_owners_{name}", value)


def steps() -> Any:
    """Return what the calls of a worker take turns with: a thread goes one step when asked."""
    return keep("steps", (threading.Semaphore(0), threading.Semaphore(0)))


def print_steps(text: str) -> None:
    asked, done = steps()
    while True:
        asked.acquire()
        print(text, flush=True)
        done.release()


def take_step() -> None:
    asked, done = steps()
    asked.release()
    done.acquire()


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> list[Log]:
    """The lines that belong to no call which runs."""
    logs: list[Log] = []
    # In this order: the package takes its own from that module, and keeps what it finds there.
    monkeypatch.setattr("fal_core.sinks.print_log", logs.append)
    monkeypatch.setattr("fal_core.sinks.printing.print_log", logs.append)
    return logs


def test_a_thread_that_was_left_behind_prints_for_its_own_call(
    local_host: LocalHost, printed: list[Log]
):
    """
    What a thread prints after its call has ended names that call, and is in the log of no
    other one that runs meanwhile.
    """

    def leave() -> None:
        threading.Thread(target=print_steps, args=("left",), daemon=True).start()
        take_step()

    def stay() -> None:
        print("before")
        take_step()
        take_step()
        print("after")

    options = {"host": local_host, **SHARED}
    left = record(function("current", **options)(leave))
    stayed = record(function("current", **options)(stay))
    assert [log.message for log in left.printed] == ["left"]
    assert [log.message for log in stayed.printed] == ["before", "after"]
    assert wait_until(lambda: len(printed) == 2, 30)
    assert left.call is not None
    assert {(log.message, log.call_id) for log in printed} == {("left", left.call.id)}


def test_a_line_that_a_left_thread_has_begun_is_not_cut(
    local_host: LocalHost, printed: list[Log]
):
    """The end of a call ends none of the lines that threads of other calls have begun."""

    def halves() -> None:
        asked, done = steps()
        for text in ("one, ", "two\n"):
            asked.acquire()
            print(text, end="")
            done.release()

    def leave() -> None:
        threading.Thread(target=halves, daemon=True).start()

    options = {"host": local_host, **SHARED}
    record(function("current", **options)(leave))
    step = function("current", **options)(take_step)
    assert record(step).printed == record(step).printed == []
    assert wait_until(lambda: bool(printed), 30)
    assert [log.message for log in printed] == ["one, two"]


def test_items_of_a_map_own_their_threads(local_host: LocalHost, printed: list[Log]):
    """A thread of one item of a batch prints for that item while another one runs."""

    def work(number: int) -> int:
        if not number:
            threading.Thread(target=print_steps, args=("left",), daemon=True).start()
        take_step()
        return number

    isolated = function("current", host=local_host, **SHARED)(work)
    recorder = Recorder(isolated.make_launcher())
    items = [((number,), {}) for number in range(3)]
    recorder.call = recorder.launcher.call(items, batch=3)
    recorder.follow(local_host.launch(recorder.call, recorder))
    recorder.wait(30)
    assert [log.call_id for log in recorder.printed] == [f"{recorder.call.id}/0"] * 3


def poll_queue(box: Any) -> None:
    while True:
        print(box.get(timeout=600), flush=True)
        steps()[1].release()


def poll_loop(box: Any) -> None:
    async def poll() -> None:
        while True:
            while box.empty():
                await asyncio.sleep(0.001)
            print(box.get(), flush=True)
            steps()[1].release()

    asyncio.run(poll())


@pytest.mark.parametrize("poll", [poll_queue, poll_loop])
def test_a_thread_that_waits_in_its_own_code_prints_for_its_own_call(
    local_host: LocalHost, printed: list[Log], poll: Callable[[Any], None]
):
    """A thread of a call that polls a queue, or runs an event loop, works for that call alone."""

    def give(text: str) -> None:
        print("here")
        keep("box", queue.Queue()).put(text)
        steps()[1].acquire()

    def leave() -> None:
        box = keep("box", queue.Queue())
        threading.Thread(target=poll, args=(box,), daemon=True).start()
        give("first")

    options = {"host": local_host, **SHARED}
    left = record(function("current", **options)(leave))
    stayed = record(function("current", **options)(give), "second")
    assert sorted(log.message for log in left.printed) == ["first", "here"]
    assert [log.message for log in stayed.printed] == ["here"]
    assert wait_until(lambda: bool(printed), 30)
    assert left.call is not None
    assert [(log.message, log.call_id) for log in printed] == [("second", left.call.id)]


def wait_for_idle(pool: ThreadPoolExecutor) -> None:
    ident = pool.submit(threading.get_ident).result()
    assert wait_until(lambda: sys._current_frames()[ident].f_code.co_name == "_worker", 30)


def test_a_pool_that_was_left_at_work_works_for_the_next_call():
    """
    A thread of a pool keeps the call that has left it for as long as it works for that, also
    if what it runs there is written in C.
    """
    threads = StartedThreads()
    threads.begin()
    go = threading.Lock()
    with ThreadPoolExecutor(1) as pool:
        wait_for_idle(pool)
        assert threads.note_left((1, 0)) == 0
        with go:
            work = pool.submit(go.acquire)
            assert wait_until(work.running, 30)
            assert wait_until(lambda: threads.note_left((1, 0)) == LEFT, 30)
            threads.free_idle()
            assert threads.note_left((2, 0)) == 0
            owner = pool.submit(threads.find_owner)
        assert owner.result() == (1, 0)
        wait_for_idle(pool)
        threads.free_idle()
        assert pool.submit(threads.find_owner).result() is None


def with_pool(text: str) -> None:
    pool: ThreadPoolExecutor = keep("pool", ThreadPoolExecutor(1))
    pool.submit(print, text).result()


def with_loop(text: str) -> None:
    loop = keep("loop", asyncio.new_event_loop())
    if not loop.is_running():
        threading.Thread(target=loop.run_forever, daemon=True).start()

    async def say() -> None:
        print(text)

    asyncio.run_coroutine_threadsafe(say(), loop).result()


async def with_thread(text: str) -> None:
    await asyncio.to_thread(print, text)


@pytest.mark.parametrize("way", [with_pool, with_loop, with_thread])
def test_a_thread_that_works_for_others_prints_for_them(
    local_host: LocalHost, way: Callable[..., Any]
):
    """What pools and event loops that calls share print belongs to the call whose work it is."""
    isolated = function("current", host=local_host, **SHARED)(way)
    for text in ("first", "second", "third"):
        assert [log.message for log in record(isolated, text).printed] == [text]


def test_a_task_that_was_left_behind_prints_for_its_own_call(
    local_host: LocalHost, printed: list[Log]
):
    """A task that goes on in the event loop of a later call prints for the call that made it."""

    async def leave() -> None:
        async def go_on() -> None:
            print("left")
            await asyncio.sleep(0)
            keep("event", asyncio.Event()).set()
            print("left later")

        keep("task", asyncio.create_task(go_on()))

    async def stay() -> None:
        await keep("event", asyncio.Event()).wait()
        print("here")

    options = {"host": local_host, **SHARED}
    first = record(function("current", **options)(leave))
    second = record(function("current", **options)(stay))
    assert [log.message for log in second.printed] == ["here"]
    found = [log.message for log in (*first.printed, *printed)]
    assert found == ["left", "left later"]


def test_a_thread_left_behind_in_a_shared_worker(local_host: LocalHost, printed: list[Log]):
    """
    Where several calls run at once, a thread of a call that has ended prints for none of
    the others.
    """

    def leave() -> None:
        threading.Thread(target=print_steps, args=("left",), daemon=True).start()
        take_step()

    def stay() -> None:
        take_step()
        print("here")

    options = {"host": local_host, "max_multiplexing": 4, **SHARED}
    record(function("current", **options)(leave))
    stayed = record(function("current", **options)(stay))
    assert [log.message for log in stayed.printed] == ["here"]
    assert wait_until(lambda: [log.message for log in printed] == ["left"], 30)


@pytest.mark.parametrize("multiplex", [1, 4])
def test_a_thread_left_behind_cannot_call_home(local_host: LocalHost, multiplex: int):
    """A thread whose call has ended is told so when it calls a function that runs elsewhere."""
    other = function("current", host=InProcessHost())(abs)

    def leave() -> None:
        asked, done = steps()

        def call() -> None:
            asked.acquire()
            try:
                other(-1)
            except RuntimeError as error:
                keep("raised", str(error))
            done.release()

        threading.Thread(target=call, daemon=True).start()

    def read() -> str:
        take_step()
        return str(keep("raised", ""))

    options = {"host": local_host, "max_multiplexing": multiplex, **SHARED}
    record(function("current", **options)(leave))
    assert "a thread that it leaves behind" in function("current", **options)(read)()
