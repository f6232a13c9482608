"""
Calls that wait for a worker.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from fal_core.calls import Call
from fal_core.errors import Cancelled, HostError
from fal_core.events import Event, Exited, Sink
from fal_core.hosts import Driven
from fal_core.sinks.handlers import failed
from fal_core.workers import Worker, WorkerExecution
from fal_core_worker.stream.frames import Frame

if TYPE_CHECKING:
    from fal_host_local.pools import Pool


class PendingExecution(Driven):
    """
    A call that waits for a worker, and then is the worker's.
    """

    def __init__(self, pool: Pool, call: Call, sink: Sink) -> None:
        self.call = call
        self.sink = sink
        self.since = time.monotonic()
        self._pool = pool
        self._inner: WorkerExecution | None = None
        self._ended = False
        self._changed = threading.Event()
        self._cancelling: float | None = None

    @property
    def reference(self) -> str:
        return self.call.id

    def assign(self, worker: Worker) -> bool:
        """
        Run the call in *worker*; return False if the worker can take another.
        """
        try:
            self._inner = worker.launch(self.call, self.sink)
        except ConnectionError:
            self._pool.put_back(self, worker)
            return True
        self._pool.startups.called(worker)
        self._changed.set()
        if self._cancelling is not None:
            self._inner.cancel(self._cancelling)
        return True

    def refuse(self, reason: HostError) -> None:
        """
        End the call before it had a worker.
        """
        self._end(Exited(reason=reason))

    def tell(self, event: Event) -> None:
        """
        Tell what is done for the call while it waits; it ends if its sink raises.
        """
        try:
            self.sink(event)
        except Exception as error:
            if self._pool.waiting.withdraw(self):
                self._end(failed(error))

    def send(self, frame: Frame) -> None:
        if self._inner is not None:
            self._inner.send(frame)

    def drain(self) -> None:
        if self._inner is not None:
            self._inner.drain()

    def cancel(self, grace: float) -> None:
        self._cancelling = grace
        if self._inner is not None:
            self._inner.cancel(grace)
        elif self._pool.waiting.withdraw(self):
            self.refuse(Cancelled())

    def drive(self, timeout: float | None) -> None:
        until = None if timeout is None else time.monotonic() + timeout
        if not self._changed.wait(timeout):
            return
        if self._inner is not None:
            left = None if until is None else max(0.0, until - time.monotonic())
            self._inner.drive(left)

    def _end(self, exited: Exited) -> None:
        self.sink(exited)
        self._ended = True
        self._changed.set()


class Queue(deque[PendingExecution]):
    """
    The calls of a pool that wait, the next one first.

    Arguments:
        lock: The pool's, which whoever puts calls in or takes them out holds.
    """

    def __init__(self, lock: threading.Lock) -> None:
        super().__init__()
        self._lock = lock

    def take_all(self) -> list[PendingExecution]:
        """
        Return the calls, and let none wait any more; under the lock.
        """
        waiting = list(self)
        self.clear()
        return waiting

    def withdraw(self, pending: PendingExecution) -> bool:
        """
        Take a call out; return False if it has a worker already.
        """
        with self._lock:
            try:
                self.remove(pending)
            except ValueError:
                return False
        return True

    def tell(self, event: Event) -> bool:
        """
        Tell each call what is done for it; return False if none waits.
        """
        with self._lock:
            waiting = list(self)
        for pending in waiting:
            pending.tell(event)
        return bool(waiting)


class AllWithdrawn(threading.Event):
    """
    Set when none of the calls waits for the environment any more.
    """

    def __init__(self, waiting: Queue) -> None:
        super().__init__()
        self._waiting = waiting

    def is_set(self) -> bool:
        return not self._waiting

    def wait(self, timeout: float | None = None) -> bool:
        until = None if timeout is None else time.monotonic() + timeout
        while not self.is_set():
            if until is not None and time.monotonic() >= until:
                return False
            time.sleep(0.02)
        return True
