"""
Upkeep: what becomes of workers that are idle.
"""

from __future__ import annotations

import threading
import time

from fal_core.sinks.event_thread import get_reader
from fal_core.workers import Worker

#: Seconds after which an idle worker's shared memory is given back.
_TRIM_AFTER = 2.0

#: Seconds after which what an idle worker still prints is listened for.
_LISTEN_AFTER = 0.5


class Roster:
    """
    The workers of a pool; whoever uses it holds the pool's lock.

    Attributes:
        workers: Each with the time since when it has had nothing new to do.

        idle: Those that can take a call, the one used last at the end. One that runs
            several calls at once stands there for each that it can take.
    """

    def __init__(self) -> None:
        self.workers: dict[Worker, float] = {}
        self.idle: list[Worker] = []

    def add(self, worker: Worker) -> None:
        """
        Take in *worker*, which was just started.
        """
        self.workers[worker] = time.monotonic()

    def rest(self, worker: Worker) -> None:
        """
        Note that *worker* can take a call, from now on.
        """
        self.idle.append(worker)
        self.workers[worker] = time.monotonic()

    def remove(self, worker: Worker) -> None:
        """
        Forget *worker*, if it is known.
        """
        self.workers.pop(worker, None)
        self.idle = [other for other in self.idle if other is not worker]

    def clear(self) -> None:
        """
        Forget all.
        """
        self.workers.clear()
        self.idle.clear()

    def resting(self, seconds: float) -> list[Worker]:
        """
        Return the workers that have done nothing for some *seconds*, longest first.
        """
        until = time.monotonic() - seconds + 0.001
        idle = [worker for worker in dict.fromkeys(self.idle) if not worker.executions]
        return [worker for worker in idle if self.workers[worker] <= until]


class Upkeep:
    """
    Looks after the idle workers of a pool, now and then.

    Arguments:
        lock: The pool's.

        keep_alive: Seconds after which an idle worker is stopped.

    Attributes:
        least: How many workers there are at least.
    """

    def __init__(
        self, roster: Roster, lock: threading.Lock, *, keep_alive: float, least: int
    ) -> None:
        self._roster = roster
        self._lock = lock
        self._keep_alive = keep_alive
        self.least = least
        self._reaping = False
        self._listening = False

    def begin(self) -> None:
        """
        Look after a worker that has just become idle.
        """
        if self._reaping and self._listening:
            # As after most calls. Whoever looks next sees the worker.
            return
        with self._lock:
            reap, self._reaping = not self._reaping, True
            listen, self._listening = not self._listening, True
        if reap:
            get_reader().after(self._keep_alive, self._reap)
            get_reader().after(_TRIM_AFTER, self._trim)
        if listen:
            get_reader().after(_LISTEN_AFTER, self._listen)

    def _trim(self) -> None:
        """
        Give back the shared memory of workers that are idle.
        """
        with self._lock:
            resting = self._roster.resting(_TRIM_AFTER)
        left = [worker for worker in resting if worker.trim()]
        if left or len(resting) < len(self._roster.workers):
            get_reader().after(_TRIM_AFTER, self._trim)

    def _listen(self) -> None:
        """
        Hear what idle workers print, as threads that a function has left behind do.

        The next call of a worker ends it: until then nobody reads its stream.
        """
        with self._lock:
            resting = self._roster.resting(_LISTEN_AFTER)
            again = self._listening = len(resting) < len(self._roster.workers)
            for worker in resting:
                worker.follow()
        if again:
            get_reader().after(_LISTEN_AFTER, self._listen)

    def _reap(self) -> None:
        """
        Stop workers that have been idle for long, the one longest idle first.
        """
        roster = self._roster
        with self._lock:
            spare = max(0, len(roster.workers) - self.least)
            stop = roster.resting(self._keep_alive)[:spare]
            for worker in stop:
                roster.remove(worker)
            left = [roster.workers[worker] for worker in roster.idle]
            again = self._reaping = bool(left) and len(roster.workers) > self.least
        for worker in stop:
            worker.stop()
        if again:
            due = min(left) + self._keep_alive - time.monotonic()
            get_reader().after(max(0.01, due), self._reap)
