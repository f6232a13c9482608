"""Line rates: how many lines of a runner are taken in a while."""

from __future__ import annotations

import time
from collections.abc import Sequence

import attrs

from fal_core.events import Event, Exited, Log, Outcome
from fal_server.limits import write_size
from fal_server.logs.line_buffers import write_number
from fal_server.logs.log_lines import OVERHEAD

#: How many seconds' worth a runner that was quiet may print at once.
_BURST = 16


@attrs.define(eq=False)
class LineRate:
    """
    The lines of one runner: more than it may print in a while are dropped, and that is said
    before the next line, and when it ends.

    It is asked before a line is handed to the loop, which thousands of lines a second keep
    from everything else.

    Arguments:
        rate: Bytes in a second, with what each line costs.

        needed: Messages that are no output, and that somebody waits for.
    """

    rate: int
    needed: frozenset[str] = frozenset()
    _left: float = attrs.field(init=False)
    _seen: float = attrs.field(factory=lambda: time.monotonic(), init=False)
    _dropped: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._left = float(self.rate * _BURST)

    def admit(self, event: Event) -> Sequence[Event]:
        """Return the events that take the place of *event*."""
        if not isinstance(event, Log):
            is_end = isinstance(event, (Exited, Outcome))
            return (*self._tell(), event) if is_end and self._dropped else (event,)
        if event.message in self.needed:
            return (event,)
        now = time.monotonic()
        full = float(self.rate * _BURST)
        self._left = min(full, self._left + (now - self._seen) * self.rate)
        self._seen = now
        cost = len(event.message) + OVERHEAD
        # Once it has printed too much, it is heard again when there is room for some lines.
        if self._left < cost + (full / 64 if self._dropped else 0):
            self._dropped += 1
            return ()
        self._left -= cost
        return (*self._tell(event.time), event) if self._dropped else (event,)

    def _tell(self, printed_at: float = 0.0) -> Sequence[Event]:
        count, self._dropped = self._dropped, 0
        sentence = (
            f"{write_number(count)} dropped: a runner may print "
            f"{write_size(self.rate)} bytes in a second."
        )
        return (Log(sentence, "WARNING", "BRIDGE", printed_at or time.time()),)
