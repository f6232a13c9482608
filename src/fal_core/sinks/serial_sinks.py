"""A sink for events that more than one thread delivers."""

from __future__ import annotations

import threading

from fal_core.events import Event, Exited, Sink
from fal_core.sinks.sinks_around import SinkAround


class SerialSink(SinkAround):
    """
    A sink around a sink, which gets one event at a time, and none after ``Exited``.

    Any thread may deliver an event, also one that is just delivering another.
    """

    def __init__(self, sink: Sink) -> None:
        super().__init__(sink)
        self._lock = threading.RLock()
        self._has_ended = False

    def __call__(self, event: Event) -> None:
        with self._lock:
            if not self._has_ended:
                self._has_ended = type(event) is Exited
                self.sink(event)

    @property
    def ended(self) -> bool:
        return self._has_ended


def make_serial(sink: Sink) -> Sink:
    """Return *sink* as a host is to see it, with events delivered one at a time."""
    # What a host sees of a serial sink may be its method.
    around = getattr(sink, "__self__", sink)
    return sink if isinstance(around, SerialSink) else SerialSink(sink).for_host()
