"""
Startups: how long workers take to start, and killing those that are not ready in time.

A worker is ready when it has started and has run the setup of its function, if there is
one. The time in which it waits for its first call does not count.
"""

from __future__ import annotations

import time
from collections import deque
from weakref import WeakKeyDictionary, WeakSet

from fal_core.errors import StartupTimeout
from fal_core.sinks import get_event_thread
from fal_core.workers import Worker

#: Seconds that starting a worker is assumed to take until one has been started.
_FIRST_GUESS = 0.05


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
        self.limits_setup: bool = timeout is not None and has_setup
        self._began: WeakKeyDictionary[Worker, float] = WeakKeyDictionary()
        self._spent: WeakKeyDictionary[Worker, float] = WeakKeyDictionary()
        self._usual: deque[float] = deque(maxlen=15)
        self._called: WeakSet[Worker] = WeakSet()
        self._overdue: WeakSet[Worker] = WeakSet()

    @property
    def usual(self) -> float:
        """
        Seconds that starting a worker usually takes: the median of the last ones.
        """
        # Importing ``statistics`` takes longer than the rest of this package.
        spent = sorted(self._usual)
        return spent[len(spent) // 2] if spent else _FIRST_GUESS

    def begin(self, worker: Worker) -> None:
        """
        Begin the startup of *worker*, which was just started.
        """
        self._began[worker] = time.monotonic()
        if self._timeout is not None:
            get_event_thread().after(self._timeout, lambda: self._check_hello(worker))

    def started(self, worker: Worker) -> None:
        """
        Take note that *worker* has said hello.
        """
        began = self._began.get(worker)
        if began is None or worker.hello is None:
            return
        # Its clock tells it best, where it is that of this machine: the hello may have
        # waited to be read.
        spent, most = worker.hello["at"] - began, time.monotonic() - began
        if not 0 <= spent <= most:
            spent = most
        self._spent[worker] = spent
        self._usual.append(spent)

    def called(self, worker: Worker) -> None:
        """
        Begin the setup of *worker*, with its first call, in the time that is left.
        """
        if self._timeout is None or not self.limits_setup:
            return
        began = self._began.get(worker)
        if began is not None and worker not in self._called:
            self._called.add(worker)
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
