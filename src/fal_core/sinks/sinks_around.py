"""Sinks around sinks: each changes some events of a call and passes on the others."""

from __future__ import annotations

from typing import Any

from fal_core.abilities import Driver
from fal_core.events import Event, Exited, Outcome, Sink, State
from fal_core.sinks.call_sinks import CallSink


class SinkAround(CallSink, Driver):
    """
    A sink around a sink, to which it passes all events that a subclass does not handle.

    What the inner sink raises is raised to the host, as if it had been given that.
    """

    def __init__(self, sink: Sink) -> None:
        self.sink = sink

    def for_host(self) -> Sink:
        """Return this sink as a host is to see it: a ``Driver`` only if the inner one is."""
        return self if isinstance(self.sink, Driver) else self.__call__

    @property
    def inner_sink(self) -> CallSink | None:
        """The inner sink, also where that is seen as by a host. None if it is a plain function."""
        sink = getattr(self.sink, "__self__", self.sink)
        # A subclass may end the row itself, with a method of its own.
        return sink if isinstance(sink, CallSink) and sink is not self else None

    @property
    def host_name(self) -> str:
        return "" if self.inner_sink is None else self.inner_sink.host_name

    @property
    def left_to_driver(self) -> bool:
        return isinstance(self.sink, Driver) and self.sink.left_to_driver

    @left_to_driver.setter
    def left_to_driver(self, is_left: bool) -> None:
        if isinstance(self.sink, Driver):
            self.sink.left_to_driver = is_left

    def fail(self, error: BaseException) -> None:
        raise error

    @property
    def ended(self) -> bool:
        # The inner one may have broken the call off.
        return self.exited is not None or (
            self.inner_sink is not None and self.inner_sink.ended
        )

    def break_off(self, event: Any) -> None:
        # The inner sink says so.
        if type(event) is Exited:
            self.on_exited(event)
        else:
            self.sink(event)

    def on_state(self, state: State) -> None:
        self.sink(state)

    def on_outcome(self, outcome: Outcome) -> None:
        self.sink(outcome)

    def on_exited(self, exited: Exited) -> None:
        self.sink(exited)

    def on_other(self, event: Event) -> None:
        self.sink(event)
