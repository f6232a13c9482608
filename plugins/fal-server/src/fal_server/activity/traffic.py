"""Traffic: the requests of applications, counted as they are answered."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping

import attrs

from fal_server.activity.measurements import STEP, Measurements, Name, Tally, merge_all
from fal_server.errors import Refusal

logger = logging.getLogger(__name__)

#: The steps of which the present numbers are made: one minute for how many requests there
#: are, and five for how long they take.
_RATED, _TIMED = 60 // STEP, 300 // STEP

#: The status from which on a response is the fault of the application, or of the server.
_FAULT = 500

#: Steps between two deletions of what is old.
_DELETING = 240


@attrs.frozen
class Rates:
    """
    The present numbers of an application.

    Attributes:
        per_second: Its requests in each second of the last minute.

        errors: How many of its requests failed in the last five minutes.

        median, slow: The seconds within which half, and 95 of a hundred, of its requests were
            answered in the last five minutes. None where there were none.
    """

    per_second: float = 0.0
    errors: int = 0
    median: float | None = None
    slow: float | None = None


@attrs.define(eq=False)
class Traffic:
    """
    Counts the requests of applications, and stores the numbers.

    Attributes:
        measurements: Where they are stored.
    """

    measurements: Measurements
    _present: dict[Name, Tally] = attrs.field(factory=dict)
    _recent: deque[Mapping[Name, Tally]] = attrs.field(factory=lambda: deque(maxlen=_TIMED))
    _rates: dict[Name, Rates] = attrs.field(factory=dict)

    def observe(self, name: Name, status: int, seconds: float) -> None:
        """Count a request to an application, named by its account and its alias."""
        self.tally_of(name).observe(seconds, failed=status >= _FAULT)

    def tally_of(self, name: Name) -> Tally:
        """Return what is counted of an application at present, for this moment alone."""
        tally = self._present.get(name)
        if tally is None:
            tally = self._present[name] = Tally()
        return tally

    def rates_of(self, name: Name) -> Rates:
        """Return the present numbers of an application."""
        return self._rates.get(name, _NONE)

    async def run(
        self,
        look: Callable[[], Mapping[Name, tuple[int, int]]],
        tidy: Callable[[], Awaitable[None]],
    ) -> None:
        """
        Store the numbers again and again, until the task is cancelled.

        Arguments:
            look: Returns how many runners and waiting requests each application has.

            tidy: Called after each step.
        """
        step = 0
        while True:
            await asyncio.sleep(STEP)
            for name, (runners, waiting) in look().items():
                if runners or waiting:
                    tally = self._present.setdefault(name, Tally())
                    tally.runners, tally.waiting = runners, waiting
            try:
                await self.store()
                await tidy()
                if step % _DELETING == 0:
                    await self.measurements.delete_old()
            except Refusal as refusal:
                logger.info("Measurements could not be stored: %s", refusal)
            step += 1

    async def store(self) -> None:
        """Store what was counted since the last time."""
        counted, self._present = self._present, {}
        self._recent.append(counted)
        recent = list(self._recent)
        names = {name for each in recent for name in each}
        self._rates = {name: _rate([each.get(name) for each in recent]) for name in names}
        if counted:
            await self.measurements.add(counted, time.time())


_NONE = Rates()


def _rate(steps: list[Tally | None]) -> Rates:
    last_minute = merge_all(each for each in steps[-_RATED:] if each is not None)
    whole = merge_all(each for each in steps if each is not None)
    return Rates(
        per_second=last_minute.requests / (STEP * min(_RATED, len(steps))),
        errors=whole.errors,
        median=whole.percentile(0.5),
        slow=whole.percentile(0.95),
    )
