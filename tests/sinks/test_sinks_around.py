"""Sinks around sinks: what they do not handle reaches the inner sink unchanged."""

from __future__ import annotations

from typing import Any

import pytest

from fal_core.abilities import Driver
from fal_core.events import Event, Exited, Log, Outcome, Sealed, State
from fal_core.sinks.call_sinks import CallSink
from fal_core.sinks.sinks_around import SinkAround


def test_a_sink_around_passes_everything_on() -> None:
    """The inner sink gets all events that the outer one does not handle itself."""
    got: list[Event] = []
    events: list[Event] = [State("running"), Log("a line"), Outcome(Sealed(b"")), Exited()]
    around = SinkAround(got.append)
    for event in events:
        around(event)

    assert got == events


def test_a_sink_around_raises_the_exception_of_the_inner_one() -> None:
    """An exception of the inner sink reaches the host, which ends the call."""

    def fail(event: Any) -> None:
        raise LookupError("inner")

    with pytest.raises(LookupError, match="inner"):
        SinkAround(fail)(State("running"))


class Named(CallSink):
    """A sink that knows its host."""

    @property
    def host_name(self) -> str:
        return "mine"


class Last(SinkAround):
    """A sink around a method of its own."""

    def __init__(self) -> None:
        super().__init__(self.take)

    def take(self, event: Event) -> None: ...


def test_a_sink_around_knows_the_innermost_one() -> None:
    """
    The host and the end are those of the innermost sink, also where nobody drives, so that
    each sink is seen as a plain function.
    """
    named = Named()
    around = SinkAround(SinkAround(named).for_host())
    assert around.host_name == "mine"
    assert not around.ended
    named(Exited())
    assert around.ended
    assert SinkAround([].append).host_name == ""
    last = Last()
    assert (last.host_name, last.ended) == ("", False)


def test_a_sink_around_drives_if_the_inner_one_does() -> None:
    """A host sees a driver only if there is a thread that drives."""

    class Driving(CallSink, Driver):
        pass

    assert isinstance(SinkAround(Driving()).for_host(), Driver)
    assert not isinstance(SinkAround(CallSink()).for_host(), Driver)
