"""Locks, queues and the like travel as new ones."""

from __future__ import annotations

import concurrent.futures
import ctypes
import multiprocessing
import os
import queue
import selectors
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from fal_core import function
from fal_core.errors import FalSerializationError
from fal_core.explanations import explain
from fal_core.sealing import seal_function
from fal_core.sealing.arguments import seal_arguments
from fal_core.testing import InProcessHost
from fal_core_worker.opening.seals import SealingError

#: Seconds that a thread may take to come to its point.
PATIENCE = 60


def is_free(lock: Any) -> bool:
    taken: bool = lock.acquire(blocking=False)
    if taken:
        lock.release()
    return taken


def echo(value: Any) -> Any:
    return value


class Service:
    """An object with a lock, as loggers, caches and clients have."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.names = ["a"]

    def count(self) -> int:
        with self.changed:
            self.changed.notify_all()
            return len(self.names)


@dataclass
class Buffers(threading.local):
    """An object of each thread, as a console has."""

    theme: str
    lines: list[str] = field(default_factory=list)


service = Service()
buffers = Buffers("dark", ["a line"])
plain_local = threading.local()
lock = threading.Lock()
again = threading.RLock()
ready = threading.Event()
slots = threading.BoundedSemaphore(3)
work: queue.Queue[Any] = queue.Queue(5)


def test_functions_travel_with_what_they_refer_to(worker: Any) -> None:
    """Whatever a function refers to is there, free, and in the state that it had."""
    ready.set()
    slots.acquire()
    work.put({"item": 1})
    plain_local.name = "of the caller"

    def use() -> Any:
        found = [is_free(lock), is_free(again), ready.is_set(), work.get_nowait(), work.maxsize]
        taken = [slots.acquire(blocking=False) for _ in range(3)]
        there: list[Any] = []
        thread = threading.Thread(target=lambda: there.append((buffers.theme, buffers.lines)))
        thread.start()
        thread.join()
        return found, taken, service.count(), there, hasattr(plain_local, "name")

    expected = (
        [True, True, True, {"item": 1}, 5],
        [True, True, False],
        1,
        [("dark", ["a line"])],
        False,
    )
    for portable in (False, True):
        seal = seal_function(use, portable=portable)
        assert not seal.sealed.refusal
        assert worker(None, (), seal=seal, native=not portable) == [expected]
    assert work.get_nowait() == {"item": 1}
    slots.release()
    ready.clear()


def test_a_console_of_the_module_travels(worker: Any) -> None:
    """A function may use a console of its module, which has locks and objects of each thread."""
    rich = pytest.importorskip("rich.console")
    console = rich.Console(width=40)

    def show(number: int) -> str:
        with console.capture() as captured:
            console.print(f"[bold]hello[/bold] {number}")
        return str(captured.get())

    for portable in (False, True):
        seal = seal_function(show, portable=portable)
        assert worker(None, (3,), seal=seal, native=not portable) == ["hello 3\n"]


@pytest.mark.parametrize("kind", [queue.Queue, queue.LifoQueue, queue.PriorityQueue])
def test_queues_have_their_items(worker: Any, kind: Callable[[int], Any]) -> None:
    """A queue that is an argument or a result gives its items in its order, each a task to do."""
    given = kind(3)
    for number in (2, 1, 3):
        given.put(number)
    given.get()
    given.task_done()
    left = list(given.queue)

    def pass_on(value: Any) -> Any:
        value.put(5)
        return value

    (back,) = worker(pass_on, (given,))
    assert (type(back), back.maxsize, back.qsize()) == (kind, 3, 3)
    taken = [back.get_nowait() for _ in range(3)]
    expected = {queue.LifoQueue: [*left, 5][::-1]}.get(kind, [*left, 5])  # type: ignore[call-overload]
    assert taken == (sorted(expected) if kind is queue.PriorityQueue else expected)
    for _ in taken:
        back.task_done()
    back.join()
    assert given.qsize() == 2


def test_simple_queues_have_their_items(worker: Any) -> None:
    """A simple queue keeps its items here, and has them there."""
    given: queue.SimpleQueue[str] = queue.SimpleQueue()
    given.put("a")
    given.put("b")
    (back,) = worker(echo, (given,))
    assert [back.get_nowait(), back.get_nowait(), back.empty()] == ["a", "b", True]
    assert [given.get_nowait(), given.get_nowait(), given.empty()] == ["a", "b", True]


def test_objects_that_share_a_lock_share_the_new_one(worker: Any) -> None:
    """One lock in two places is one lock there."""

    def compare(value: list[Any]) -> Any:
        with value[0]:
            return is_free(value[1]), value[2].acquire.__self__ is value[0]

    shared = threading.Lock()
    assert worker(compare, ([shared, shared, threading.Condition(shared)],)) == [(False, True)]


def hold_on_a_thread(value: Any, way: str) -> tuple[threading.Thread, threading.Event]:
    """Start a thread that holds or waits for *value* until the event is set."""
    begun, end = threading.Event(), threading.Event()

    def run() -> None:
        if way == "hold":
            with value:
                begun.set()
                assert end.wait(PATIENCE)
            return
        begun.set()
        value()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert begun.wait(PATIENCE)
    return thread, end


@pytest.mark.parametrize("made", [threading.Lock, threading.RLock])
@pytest.mark.parametrize("holder", ["this thread", "another"])
def test_held_lock_is_refused_by_its_name(made: Callable[[], Any], holder: str) -> None:
    """A lock that any thread holds does not travel, and the error has its variable."""
    mine = made()

    def use() -> Any:
        return mine

    sentence = "because of variable 'mine' of an enclosing function: a lock that is held"
    if holder == "this thread":
        with mine, pytest.raises(FalSerializationError, match=sentence):
            seal_function(use)
    else:
        thread, end = hold_on_a_thread(mine, "hold")
        with pytest.raises(FalSerializationError, match=sentence):
            seal_function(use)
        end.set()
        thread.join()
    seal_function(use)
    assert is_free(mine)


def test_what_is_waited_for_is_refused() -> None:
    """An event, a condition, a semaphore or a queue that a thread waits for does not travel."""
    seal = seal_function(echo)
    event, items = threading.Event(), queue.Queue[int]()
    slot, change = threading.Semaphore(0), threading.Condition()

    def await_change() -> None:
        with change:
            change.wait()

    waits: list[tuple[Any, Callable[[], Any], Callable[[], Any], Any]] = [
        (event, event.wait, event.set, event._cond),  # type: ignore[attr-defined]
        (items, items.get, lambda: items.put(1), items.not_empty),
        (slot, slot.acquire, slot.release, slot._cond),  # type: ignore[attr-defined]
        (change, await_change, lambda: notify(change), change),
    ]
    for value, wait, release, condition in waits:
        thread, _ = hold_on_a_thread(wait, "wait")
        while not condition._waiters:
            assert thread.is_alive()
        with pytest.raises(FalSerializationError, match=r"args\[0\]\['value'\]: an? .* waited"):
            seal_arguments((({"value": value},), {}), seal)
        release()
        thread.join()
        seal_arguments((({"value": value},), {}), seal)


def notify(change: threading.Condition) -> None:
    with change:
        change.notify_all()


class OwnFuture(concurrent.futures.Future[None]):
    """A future of a library's own class."""


def test_what_belongs_to_its_process_is_refused() -> None:
    """Threads, child processes, executors and futures do not travel, though locks of theirs do."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait(PATIENCE)
    future: concurrent.futures.Future[None] = concurrent.futures.Future()
    refused = [
        (threading.Thread(target=print), "a thread belongs to its process"),
        (threading.Timer(1, print), "a thread belongs to its process"),
        (child, "a child process belongs"),
        (future, "a future belongs"),
        (OwnFuture(), "a future belongs"),
        (concurrent.futures.ThreadPoolExecutor(), "an executor belongs"),
    ]
    seal = seal_function(echo)
    for value, sentence in refused:
        with pytest.raises(FalSerializationError, match=sentence):
            seal_arguments(((value,), {}), seal)


def test_open_files_are_refused_by_name(worker: Any, tmp_path: Any) -> None:
    """An open file does not travel, in whatever way it was opened; the error has its variable."""
    path = tmp_path / "log.txt"
    for mode in ("w", "r", "rb", "wb", "r+b"):
        with open(path, mode) as file:

            def use() -> Any:
                return file  # it is not called

            with pytest.raises(FalSerializationError) as caught:
                seal_function(use)
            assert (
                f"variable 'file' of an enclosing function: an open file, {str(path)!r}"
                in str(caught.value)
            )
    (error,) = worker(lambda: os.fdopen(0, closefd=False), ())
    assert "an open file, 0, belongs to its process" in str(error)
    assert not isinstance(error, SealingError)


class Port:
    """A device of a library's own class, as those of serial ports: a descriptor and a name."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.reads = 0

    def fileno(self) -> int:
        return self.descriptor


class Named(Port):
    """One that says itself what travels of it."""

    def __reduce__(self) -> Any:
        return Named, (0,)


def test_what_stands_for_a_descriptor_is_refused(worker: Any) -> None:
    """
    The number of a descriptor means another file elsewhere: an object that holds one is
    refused by its variable, as an argument, inside an object and as a result.
    """
    reader, writer = multiprocessing.Pipe()
    left, right = socket.socketpair()
    with reader, writer, left, right, selectors.SelectSelector() as selector:

        def use() -> Any:
            writer.send("step 1")

        where = (
            "variable 'writer' of an enclosing function: an open Connection, file descriptor"
        )
        with pytest.raises(FalSerializationError, match=where):
            seal_function(use)
        seal = seal_function(echo)
        selector.register(reader.fileno(), selectors.EVENT_READ)
        refused = [
            (reader, "an open Connection"),
            (left, "socket"),
            (selector, "a selector belongs"),
            (Port(reader.fileno()), "an open Port"),
            (ctypes.CDLL(None), "a loaded C library belongs"),
            (socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler), "open"),
        ]
        for value, sentence in refused:
            with pytest.raises(FalSerializationError, match=r"args\[0\]\['end'\].*" + sentence):
                seal_arguments((({"end": value},), {}), seal)
        refused[-1][0].server_close()
        assert worker(lambda name: name.reads, (Named(reader.fileno()),)) == [0]
        assert not writer.closed
    (error,) = worker(lambda: multiprocessing.Pipe()[0], ())
    assert "an open Connection, file descriptor" in str(error)
    # What is closed, or has no file yet, has no descriptor.
    assert worker(lambda end: end.closed, (reader,)) == [True]
    with tempfile.SpooledTemporaryFile() as spooled:
        spooled.write(b"abc")
        assert worker(lambda file: file.tell(), (spooled,)) == [3]


def test_explain_names_what_stands_for_a_descriptor() -> None:
    """``explain`` says that a function with the end of a pipe does not run, and why."""
    reader, writer = multiprocessing.Pipe()
    with reader, writer:

        @function("current", host=InProcessHost())
        def use() -> None:
            writer.send("step 1")

        explained = explain(use)
        assert not explained.runs
        assert "because of variable 'writer'" in explained.reasons[0]
