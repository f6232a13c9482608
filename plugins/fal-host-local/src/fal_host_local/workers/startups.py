"""
Startups: killing workers that are not ready in time.

A worker is ready when it has started and has run the setup of its function, if there is
one. The time in which it waits for its first call does not count.
"""

from __future__ import annotations

import time
from weakref import WeakKeyDictionary, WeakSet

from fal_core.errors import StartupTimeout
from fal_core.sinks import get_event_thread
from fal_core.workers import Worker


class Startups:
    """
    The startups of the workers of one pool.

    Arguments:
        timeout: Seconds that each may take. None for no limit.

        has_setup: Whether the functions of the pool have a setup.

    Attributes:
        limits_setup: Whether :meth:`called` has anything to do.
    """

    def __init__(self, timeout: float | None, *, has_setup: bool) -> None:
        self._timeout = timeout
        self.limits_setup = timeout is not None and has_setup
        self._began: WeakKeyDictionary[Worker, float] = WeakKeyDictionary()
        self._spent: WeakKeyDictionary[Worker, float] = WeakKeyDictionary()
        self._overdue: WeakSet[Worker] = WeakSet()

    def begin(self, worker: Worker) -> None:
        """
        Begin the startup of *worker*, which was just started.
        """
        if self._timeout is not None:
            self._began[worker] = time.monotonic()
            get_event_thread().after(self._timeout, lambda: self._check_hello(worker))

    def started(self, worker: Worker, seconds: float) -> None:
        """
        Take note that *worker* has said hello after *seconds*.
        """
        if self._timeout is not None:
            self._spent[worker] = seconds

    def called(self, worker: Worker) -> None:
        """
        Begin the setup of *worker*, with its first call, in the time that is left.
        """
        if self._timeout is None or not self.limits_setup:
            return
        began = self._began.pop(worker, None)
        if began is not None:
            spent = self._spent.get(worker)
            if spent is None:
                spent = time.monotonic() - began
            left = max(0.0, self._timeout - spent)
            get_event_thread().after(left, lambda: self._check_setup(worker))

    def error(self, worker: Worker) -> StartupTimeout | None:
        """
        Return the error for *worker* if it was killed because it took too long.
        """
        if worker not in self._overdue:
            return None
        assert self._timeout is not None
        return StartupTimeout(self._timeout)

    def _check_hello(self, worker: Worker) -> None:
        if worker.hello is None:
            self._kill(worker)

    def _check_setup(self, worker: Worker) -> None:
        if worker.executions and not worker.prepared:
            self._kill(worker)

    def _kill(self, worker: Worker) -> None:
        if not worker.gone:
            self._overdue.add(worker)
            worker.kill()
