"""Sinks that take one event at a time."""

from __future__ import annotations

import pytest

from fal_core.abilities import Driver
from fal_core.events import Event, Exited, Started
from fal_core.sinks.serial_sinks import make_serial
from fal_core.sinks.sinks_around import SinkAround


@pytest.mark.parametrize("is_driver", [True, False])
def test_a_sink_is_made_serial_once(*, is_driver: bool) -> None:
    """What a host sees stays a driver, or none, and passes on nothing after the end."""
    events: list[Event] = []
    sink = SinkAround(events.append) if is_driver else events.append

    serial = make_serial(sink)

    assert isinstance(serial, Driver) == is_driver
    assert make_serial(serial) is serial
    for event in (Started(1), Exited(), Started(2)):
        serial(event)
    assert events == [Started(1), Exited()]
