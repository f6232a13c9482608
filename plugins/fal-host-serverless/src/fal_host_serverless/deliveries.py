"""
Deliveries: which sources a service's runners have by now, so that they need not travel.

A runner keeps the archives that came with a call, on its disk too. So later calls of
the same function leave them out. One that gets to a runner without them has not begun:
it is told so, and sent again whole.
"""

from __future__ import annotations

from fal_core.calls import Call

#: How often a runner may lack what others have. Beyond, they are taken for many
#: machines, and each call carries all that it needs.
_MISSES = 2


class Deliveries:
    """
    What has been delivered by one host.
    """

    def __init__(self) -> None:
        self._delivered: set[str] = set()
        self._misses = 0

    def may_be_lean(self, call: Call) -> bool:
        """
        Tell whether *call* may travel without sources.
        """
        return self._misses < _MISSES and call.function.digest in self._delivered

    def note(self, call: Call) -> None:
        """
        Note that a runner has had all of *call*.
        """
        self._delivered.add(call.function.digest)

    def miss(self, call: Call) -> None:
        """
        Note that a runner lacked sources of *call*.
        """
        self._delivered.discard(call.function.digest)
        self._misses += 1
