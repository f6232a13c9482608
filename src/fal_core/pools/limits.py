"""
Limits: how many workers a pool has, and for how long.
"""

from __future__ import annotations

import time

from fal_core.options import HostOptions

#: Seconds for which an idle worker is kept where no option says.
KEEP_ALIVE = 10.0

#: Seconds for which no further worker is started after one could not be.
_PAUSE = 5.0


class Limits:
    """
    What the options of a pool's calls say about its workers.

    Arguments:
        count: The most workers where no option says.

        once: Whether a worker ends after its first call.

    Attributes:
        multiplex: How many calls a worker runs at once.

        most: How many workers there may be.

        least: How many stay, whatever happens.

        keep_alive: Seconds for which an idle worker is kept.

        patience: Seconds that a call waits for a busy worker; None for what starting
            another one takes.
    """

    def __init__(self, options: HostOptions, count: int, *, once: bool) -> None:
        self.multiplex: int = 1 if once else max(1, options.max_multiplexing or 1)
        self.most: int = options.max_concurrency or max(count, options.min_concurrency or 0)
        self.least: int = 0 if once else options.min_concurrency or 0
        self.keep_alive: float = (
            KEEP_ALIVE if options.keep_alive is None else options.keep_alive
        )
        self.patience: float | None = options.scaling_delay
        self._paused_until = 0.0

    def allow(self, workers: int, starting: int, waiting: int, away: int) -> bool:
        """
        Return whether one more worker is needed, and allowed.

        Arguments:
            workers: How many there are.

            starting: How many are being started.

            waiting: How many calls wait.

            away: How many workers wait for a call in this process.
        """
        count = workers + starting
        if time.monotonic() < self._paused_until:
            # Those that run may take the calls, and none is needed without any.
            return waiting > 0 and not count
        # Those that are being started take the first of the calls that wait.
        wanted = waiting > starting * self.multiplex or count < self.least
        return wanted and count < self.most + away

    def pause(self) -> float:
        """
        Start no further worker for a while, as one could not be started. Return for how many
        seconds.
        """
        self._paused_until = time.monotonic() + _PAUSE
        return _PAUSE + 0.01
