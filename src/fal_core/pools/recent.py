"""
Recent pools: the pool that ran a function's last call, while it is still the right one.
"""

from __future__ import annotations

import time

from fal_core.environments import Environment
from fal_core.options import HostOptions
from fal_core.pools.pool import Pool

#: Files are assumed to be unchanged for this many times as long as checking them took.
_REST = 50


class RecentPool:
    """
    The pool of an environment and options, which are the same objects in all calls.

    Attributes:
        refers: Whether the environment refers to files, which may change.

        pool: The pool.
    """

    __slots__ = ("_environment", "_options", "_stamp", "_took", "_until", "pool", "refers")

    def __init__(self, environment: Environment, options: HostOptions) -> None:
        # Kept, so that no other objects get their ids.
        self._environment = environment
        self._options = options
        # Not timed: it may include imports.
        self._stamp = environment.stamp()
        self._until = self._took = 0.0
        self.refers: bool = self._stamp is not None
        self.pool: Pool

    @property
    def stamp(self) -> object:
        """
        The state of the environment's files when the pool was found.
        """
        return self._stamp

    def is_current(self) -> bool:
        """
        Return whether the files are unchanged; for a while after each check that is assumed.
        """
        if time.monotonic() < self._until:
            return True
        if self._look() == self._stamp:
            return True
        # Whoever asks again is told the same.
        self._until = 0.0
        return False

    def _look(self) -> object:
        began = time.monotonic()
        stamp = self._environment.stamp()
        ended = time.monotonic()
        # The shorter of the last two: if the machine was suspended during one check, its
        # seconds would hide edits for minutes.
        before, self._took = self._took, ended - began
        self._until = ended + _REST * min(before, self._took)
        return stamp
