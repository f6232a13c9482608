"""
Hosts that break the laws of environments.
"""

from __future__ import annotations

from fal_core.pools import Start
from fal_core.testing import ProcessHost
from fal_core.workers import ARGUMENTS, Worker


class DropsVariables(ProcessHost):
    """Starts the program of an interpreter without the variables that belong to it."""

    def begin(self, start: Start) -> Worker:
        return Worker.start(["nice", *start.build().command(ARGUMENTS).argv])
