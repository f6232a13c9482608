"""Upkeep: what is done with idle workers."""

from __future__ import annotations

import threading
import time

from fal_core.sinks import get_event_thread
from fal_core.workers import Worker

#: Seconds after which the shared memory of an idle worker is freed.
_TRIM_AFTER = 2.0

#: Seconds after which the output of an idle worker is read.
_LISTEN_AFTER = 0.5


class Roster:
    """
    The workers of a pool. It is used under the pool's lock.

    Attributes:
        workers: Each worker with the time when it was last started or became idle.

        idle: The workers that can take a call, the one used last at the end. A worker that
            runs several calls at once is there once for each call that it can take.
    """

    def __init__(self) -> None:
        self.workers: dict[Worker, float] = {}
        self.idle: list[Worker] = []

    def add(self, worker: Worker) -> None:
        """Add *worker*, which was just started."""
        self.workers[worker] = time.monotonic()

    def rest(self, worker: Worker) -> None:
        """Note that *worker* can take another call."""
        self.idle.append(worker)
        self.workers[worker] = time.monotonic()

    def swap(self, worker: Worker) -> Worker:
        """
        Return an idle worker that is up for *worker*, which is not. Where none is, return the
        one that was started first, since it is the next to be up.
        """
        up = (each for each in reversed(self.idle) if each.hello is not None)
        first = (each for each in self.workers if each is worker or each in self.idle)
        other = next(up, None) or next(first, worker)
        if other is not worker:
            self.idle.remove(other)
            self.idle.insert(0, worker)
        return other

    def remove(self, worker: Worker) -> None:
        """Remove *worker*, if it is there."""
        self.workers.pop(worker, None)
        self.idle = [other for other in self.idle if other is not worker]

    def retire(self, worker: Worker) -> None:
        """Give *worker* no more calls. Remove it, unless it has one."""
        if not worker.executions:
            self.workers.pop(worker, None)
        self.idle = [other for other in self.idle if other is not worker]

    def clear(self) -> None:
        """Remove all workers."""
        self.workers.clear()
        self.idle.clear()

    def take_idle(self) -> list[Worker]:
        """Remove the workers that run no call, and return them."""
        idle = [worker for worker in dict.fromkeys(self.idle) if not worker.executions]
        for worker in idle:
            self.remove(worker)
        return idle

    def resting(self, seconds: float) -> list[Worker]:
        """Return the workers that have been idle for *seconds*, the longest idle first."""
        until = time.monotonic() - seconds + 0.001
        idle = [worker for worker in dict.fromkeys(self.idle) if not worker.executions]
        return [worker for worker in idle if self.workers[worker] <= until]


class Upkeep:
    """
    Looks after the idle workers of a pool: frees memory, reads output, stops them.

    Arguments:
        lock: The pool's.

        keep_alive: Seconds after which an idle worker is stopped.

    Attributes:
        least: The number of workers that are never stopped.
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
        """Look after a worker that has just become idle."""
        if self._reaping and self._listening:
            # As after most calls: the timers that run see the worker as well.
            return
        with self._lock:
            reap, self._reaping = not self._reaping, True
            listen, self._listening = not self._listening, True
        if reap:
            get_event_thread().after(self._keep_alive, self._reap)
            get_event_thread().after(_TRIM_AFTER, self._trim)
        if listen:
            get_event_thread().after(_LISTEN_AFTER, self._listen)

    def _trim(self) -> None:
        """Free the shared memory of idle workers."""
        with self._lock:
            resting = self._roster.resting(_TRIM_AFTER)
        left = [worker for worker in resting if worker.trim()]
        if left or len(resting) < len(self._roster.workers):
            get_event_thread().after(_TRIM_AFTER, self._trim)

    def _listen(self) -> None:
        """
        Read what idle workers print, as threads do that a function has left running.

        This ends with the worker's next call; without it nothing would read its stream.
        """
        with self._lock:
            resting = self._roster.resting(_LISTEN_AFTER)
            again = self._listening = len(resting) < len(self._roster.workers)
            for worker in resting:
                worker.follow()
        if again:
            get_event_thread().after(_LISTEN_AFTER, self._listen)

    def _reap(self) -> None:
        """Stop workers that have been idle for ``keep_alive``, the longest idle first."""
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
            get_event_thread().after(max(0.01, due), self._reap)
