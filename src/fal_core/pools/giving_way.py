"""
Giving way: idle workers that have claimed devices end for calls that wait for these, of
this process and of others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable
from weakref import WeakKeyDictionary

from fal_core.sinks import get_event_thread
from fal_core.workers import Worker

#: Seconds in which a worker that was stopped frees what it has claimed, before another is.
_EACH = 0.5

#: Seconds between two looks whether other processes wait for what idle workers have.
_LOOK = 1.0


class ClaimedDevices:
    """
    The devices that the workers of this process have claimed, and who of them gives way.

    Attributes:
        stop_one: Stops one idle worker of a pool that has one of the given devices; returns
            whether there was one.
    """

    def __init__(self) -> None:
        self.stop_one: Callable[[Collection[str]], bool] = lambda _: False
        self.reset()

    def reset(self) -> None:
        """Begin without workers, as in a forked child."""
        self._uuids: WeakKeyDictionary[Worker, frozenset[str]] = WeakKeyDictionary()
        self._lock = threading.Lock()
        self._stopped_at = 0.0
        self._looks = False

    def note(self, worker: Worker, uuids: Iterable[str]) -> None:
        """Take note that *worker* has claimed the devices *uuids*."""
        with self._lock:
            self._uuids[worker] = frozenset(uuids)
            begins, self._looks = not self._looks, True
        if begins:
            get_event_thread().after(_LOOK, self._look)

    def holders(self, workers: Iterable[Worker], uuids: Collection[str]) -> list[Worker]:
        """Return those of *workers* that have claimed one of the devices *uuids*."""
        return [
            worker
            for worker in workers
            if not self._uuids.get(worker, frozenset()).isdisjoint(uuids)
        ]

    def make_room(self, uuids: Collection[str]) -> bool:
        """
        Stop one idle worker that has one of the devices *uuids*; return whether some will be
        free soon.
        """
        now = time.monotonic()
        if now - self._stopped_at < _EACH:
            return True
        if not self._uuids or not self.stop_one(uuids):
            return False
        self._stopped_at = now
        return True

    def _look(self) -> None:
        """Make room for other processes, and look again as long as a worker has devices."""
        from fal_core.claims import wanted_devices

        with self._lock:
            held = {
                uuid
                for worker, uuids in list(self._uuids.items())
                if not worker.gone
                for uuid in uuids
            }
            self._looks = bool(held)
        if not held:
            return
        wanted = wanted_devices(held)
        if wanted:
            self.make_room(wanted)
        get_event_thread().after(_LOOK, self._look)


#: Those of this process.
claimed: ClaimedDevices = ClaimedDevices()
