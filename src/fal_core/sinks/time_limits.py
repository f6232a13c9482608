"""
Timeouts: calls that nobody waits for end when their time is up.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from fal_core.errors import Timeout
from fal_core.events import Event, Exited, Outcome, Sink, State
from fal_core.sinks.event_thread import get_reader

if TYPE_CHECKING:
    from fal_core.hosts import Execution

#: Seconds beyond its grace after which a call that was ended is given up.
_PATIENCE = 5.0


class TimeLimit:
    """
    The sink of a call that may take so many seconds, around the sink itself.

    When they are over it ends the call. ``Exited`` has the reason ``Timeout`` then,
    and comes at the latest when the call should have ended long since.

    Arguments:
        seconds: Those left.

        limit: What the error says; *seconds* if it is not given.

        from_start: Count from when the host runs the call, not from now.
    """

    __slots__ = (
        "_ended",
        "_execution",
        "_expired",
        "_grace",
        "_limit",
        "_lock",
        "_seconds",
        "_sink",
        "_timer",
    )

    def __init__(
        self,
        sink: Sink,
        seconds: float,
        *,
        grace: float,
        limit: float | None = None,
        from_start: bool = False,
    ) -> None:
        self._sink: Sink | None = sink
        self._seconds = seconds
        self._limit = seconds if limit is None else limit
        self._grace = grace
        self._execution: Execution | None = None
        self._expired = self._ended = False
        self._timer: Any = None
        self._lock = threading.RLock()
        if not from_start:
            self._begin()

    def follow(self, execution: Execution) -> None:
        """
        Learn what to end; events may have come before.
        """
        with self._lock:
            if self._ended:
                return
            self._execution = execution
            expired = self._expired
        if expired:
            execution.cancel(self._grace)

    def __call__(self, event: Event) -> None:
        with self._lock:
            sink = self._sink
            if sink is None:
                return
            kind = type(event)
            # Its kind says that it has a name.
            if self._timer is None and kind is State and event.name == "running":  # type: ignore[union-attr]
                self._begin()
            elif kind is Exited:
                self._sink = self._execution = None
                self._ended = True
                if self._timer is not None:
                    get_reader().forget(self._timer)
                if self._expired:
                    event = Exited(reason=Timeout(self._limit))
            elif kind is Outcome and self._expired:
                return
            sink(event)

    def _begin(self) -> None:
        self._timer = get_reader().after(max(0.0, self._seconds), self._expire)

    def _expire(self) -> None:
        with self._lock:
            if self._ended:
                return
            self._expired = True
            execution = self._execution
            self._timer = get_reader().after(self._grace + _PATIENCE, self._give_up)
        if execution is not None:
            execution.cancel(self._grace)

    def _give_up(self) -> None:
        self(Exited())
