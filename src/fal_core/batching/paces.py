"""
The pace of batches: their size follows the time that an item takes.
"""

from __future__ import annotations

#: Seconds that a batch is meant to take, for each worker that is busy.
TARGET = 0.006
LARGEST = 4096
#: How much larger than the last a batch may be.
GROWTH = 8


class Pace:
    """
    The size of the next batch, which follows the time that an item takes.

    If the host reports when items start, launching is no part of that time, and a batch
    should take no less time than its launch. Otherwise only the time from the launch to
    the end is known.

    Arguments:
        workers: How many batches the host runs at once.

    Attributes:
        size: How many items a batch should have, with a fraction.

        tells_starts: Whether the host reports when items start, as far as is known.
    """

    __slots__ = ("_launching", "_workers", "size", "tells_starts")

    def __init__(self, workers: int) -> None:
        self.size: float = 1.0
        self.tells_starts: bool = True
        self._workers = workers
        self._launching: float | None = None

    def slow_down(self, most: float = 1.0) -> None:
        """
        Make the next batch no larger than *most*.
        """
        self.size = max(1.0, min(self.size, most))

    def learn(self, count: int, launched: float, ended: float, *, running: int) -> None:
        """
        Learn from *count* items that ended, of a host that reports no starts.

        Arguments:
            running: How many batches shared the host meanwhile.
        """
        self.tells_starts = False
        self._follow(TARGET, (ended - launched) / count / max(1, running))

    def learn_started(
        self, count: int, launched: float, started: float, ended: float, *, running: int
    ) -> None:
        """
        Learn from *count* items that ended, the first of which began at *started*.
        """
        self.tells_starts = True
        # A launch that waited for another batch took longer than launching does.
        launching = started - launched
        self._launching = min(launching, self._launching or launching)
        busy = max(1, min(running, self._workers))
        self._follow(max(TARGET * busy, self._launching), (ended - started) / count)

    def _follow(self, seconds: float, each: float) -> None:
        wanted = seconds / max(1e-7, each)
        self.size = max(1.0, min(wanted, self.size * GROWTH, LARGEST))
