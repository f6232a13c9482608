"""What belongs to its process does not travel: the error has its variable."""

from __future__ import annotations

import concurrent.futures
import ctypes
import logging
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
from dataclasses import dataclass
from typing import Any

import pytest

from fal_core import function
from fal_core.errors import FalSerializationError
from fal_core.explanations import explain
from fal_core.sealing import seal_function
from fal_core.sealing.arguments import seal_arguments
from fal_core_worker.opening.seals import SealingError
from fal_testing import InProcessHost

#: Seconds that a process may take to end.
PATIENCE = 60


def echo(value: Any) -> Any:
    return value


class Service:
    """An object with a lock, as caches and clients have."""

    def __init__(self) -> None:
        self.lock = threading.RLock()


@dataclass
class Buffers(threading.local):
    """An object of each thread, as a console has."""

    theme: str = "dark"


lock = threading.Lock()
logger = logging.getLogger(__name__)

REMEDY = "Make that in the function, or in its setup_function."


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (threading.Lock(), "a lock"),
        (threading.RLock(), "a lock"),
        (threading.Condition(), "a condition"),
        (threading.Semaphore(), "a semaphore"),
        (threading.BoundedSemaphore(), "a semaphore"),
        (threading.Event(), "an event"),
        (threading.Barrier(2), "a barrier"),
        (threading.local(), "a thread-local object"),
        (Buffers(), "a thread-local object"),
        (queue.Queue(), "a queue"),
        (queue.LifoQueue(), "a queue"),
        (queue.PriorityQueue(), "a queue"),
        (queue.SimpleQueue(), "a queue"),
    ],
)
def test_what_threads_share_is_refused_by_name(value: Any, what: str) -> None:
    """A lock, a queue and the like do not travel; the error has the variable and what to do."""

    def use() -> Any:
        return value

    with pytest.raises(FalSerializationError) as caught:
        seal_function(use)
    where = "because of variable 'value' of an enclosing function"
    assert f"{where}: {what} belongs to its process. {REMEDY}" in str(caught.value)
    with pytest.raises(FalSerializationError, match=rf"args\[0\]\['a'\]: {what} belongs"):
        seal_arguments((({"a": value},), {}), seal_function(echo))


def test_locks_of_the_module_are_refused_by_name(worker: Any) -> None:
    """A global lock, or one inside an object, is named; one that the function makes works."""

    def use() -> Any:
        return lock

    with pytest.raises(FalSerializationError, match="because of global 'lock': a lock"):
        seal_function(use)
    service = Service()
    with pytest.raises(FalSerializationError, match=r"variable 'service\.lock' .*: a lock"):
        seal_function(lambda: service)
    with pytest.raises(FalSerializationError, match="the default of 'given': a lock"):
        seal_function(lambda given=lock: given)

    def make() -> bool:
        return threading.Lock().locked()

    assert worker(make, ()) == [False]
    (error,) = worker(lambda: Service(), ())
    assert "a lock belongs to its process" in str(error)


def test_loggers_travel_by_name(worker: Any) -> None:
    """A function may use the logger of its module."""
    assert worker(lambda: logger.name, ()) == [__name__]


class OwnFuture(concurrent.futures.Future[None]):
    """A future of a library's own class."""


def test_what_belongs_to_its_process_is_refused() -> None:
    """Threads, child processes, executors and futures do not travel."""
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
