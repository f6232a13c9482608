"""
Outdated workers: those that have local modules as they were before an edit.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from fal_core.calls import Call, SourceArchive
from fal_core.pools.upkeep import Roster

#: Of how many functions the archives are remembered.
_MOST = 64


class OutdatedWorkers:
    """
    Ends the workers of a pool that have other versions of local modules than calls bring.

    Arguments:
        lock: The pool's.
    """

    def __init__(self, roster: Roster, lock: threading.Lock) -> None:
        self._roster = roster
        self._lock = lock
        # By their ids. All calls of a function have the same tuple until a module is edited.
        self._seen: OrderedDict[int, tuple[SourceArchive, ...]] = OrderedDict()

    def end(self, call: Call) -> None:
        """
        Retire the workers that do not fit *call*.

        Nothing happens if an earlier call has brought the same sources.
        """
        if id(call.sources) in self._seen:
            return
        with self._lock:
            # Kept, so that no other tuple gets its id.
            self._seen[id(call.sources)] = call.sources
            if len(self._seen) > _MOST:
                self._seen.popitem(last=False)
            outdated = [each for each in self._roster.workers if not each.fits(call)]
            for worker in outdated:
                self._roster.retire(worker)
        for worker in outdated:
            worker.retire()
