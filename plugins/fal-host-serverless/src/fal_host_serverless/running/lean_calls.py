"""
Lean calls, which leave out archives of source code that runners are thought to have.

A runner keeps the archives that came with a call, on its disk too, so later calls of
the same function leave them out. A runner that lacks one says so before it begins, and
is sent the whole call.
"""

from __future__ import annotations

from fal_core.calls import Call

#: How often a runner may lack archives before every call is sent whole, since there
#: seem to be many runners.
_MISSES = 2


class LeanCalls:
    """Decides which calls of a host are sent without archives."""

    def __init__(self) -> None:
        self._delivered: set[str] = set()
        self._misses = 0

    def may_be_lean(self, call: Call) -> bool:
        """Return whether *call* may be sent without archives."""
        return self._misses < _MISSES and call.function.digest in self._delivered

    def note_delivered(self, call: Call) -> None:
        """Note that a runner has the archives of *call*."""
        self._delivered.add(call.function.digest)

    def note_missing(self, call: Call) -> None:
        """Note that a runner lacked an archive of *call*."""
        self._delivered.discard(call.function.digest)
        self._misses += 1
