"""
Giving way: idle workers that have claimed devices end for a call that waits for these.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from weakref import WeakKeyDictionary

from fal_core.workers import Worker

#: Seconds in which a worker that was stopped frees what it has claimed, before another is.
_EACH = 0.5


class ClaimedDevices:
    """
    The devices that the workers of this process have claimed, and who of them gives way.
    """

    def __init__(self) -> None:
        self._uuids: WeakKeyDictionary[Worker, frozenset[str]] = WeakKeyDictionary()
        self._stopped_at = 0.0

    def note(self, worker: Worker, uuids: Iterable[str]) -> None:
        """
        Take note that *worker* has claimed the devices *uuids*.
        """
        self._uuids[worker] = frozenset(uuids)

    def holders(self, workers: Iterable[Worker], uuids: Collection[str]) -> list[Worker]:
        """
        Return those of *workers* that have claimed one of the devices *uuids*.
        """
        return [
            worker
            for worker in workers
            if not self._uuids.get(worker, frozenset()).isdisjoint(uuids)
        ]

    def make_room(
        self, stop_one: Iterable[Callable[[Collection[str]], bool]], uuids: Collection[str]
    ) -> bool:
        """
        Stop one idle worker that has one of the devices *uuids*; return whether some will be
        free soon.

        Arguments:
            stop_one: What stops one, of each pool.
        """
        now = time.monotonic()
        if now - self._stopped_at < _EACH:
            return True
        if not self._uuids or not any(stop(uuids) for stop in stop_one):
            return False
        self._stopped_at = now
        return True


#: Those of this process.
claimed = ClaimedDevices()
