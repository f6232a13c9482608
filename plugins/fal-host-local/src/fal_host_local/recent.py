"""
Recent pools: where the calls of a function went last, for as long as that is right.
"""

from __future__ import annotations

import time

from fal_core.environments import Environment
from fal_core.options import HostOptions
from fal_host_local.pools import Pool

#: How many times as long as a look at the files took they are taken to be the same.
_REST = 50


class RecentPool:
    """
    The pool of an environment and options, which are one object for all calls.

    Attributes:
        refers: Whether the environment refers to files, which may change.
    """

    __slots__ = ("_environment", "_options", "_stamp", "_took", "_until", "pool", "refers")

    def __init__(self, environment: Environment, options: HostOptions) -> None:
        # Held, so that no others get their ids.
        self._environment = environment
        self._options = options
        # Not measured: it may have to import how to look.
        self._stamp = environment.stamp()
        self._until = self._took = 0.0
        self.refers = self._stamp is not None
        self.pool: Pool

    @property
    def stamp(self) -> object:
        """
        What the environment said of its files.
        """
        return self._stamp

    def is_right(self) -> bool:
        """
        Tell whether the files are as they were; at times it takes that for granted.
        """
        return time.monotonic() < self._until or self._look() == self._stamp

    def _look(self) -> object:
        began = time.monotonic()
        stamp = self._environment.stamp()
        ended = time.monotonic()
        # One look alone may have met a machine that stood still, whose seconds would hide
        # edits for minutes.
        before, self._took = self._took, ended - began
        self._until = ended + _REST * min(before, self._took)
        return stamp
