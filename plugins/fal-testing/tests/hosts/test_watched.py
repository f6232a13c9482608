"""The watched host: it counts calls, and is no obstacle between the core and the host in it."""

from __future__ import annotations

from typing import Any

import attrs

from fal_core import function
from fal_core.abilities import Driver
from fal_core.calls import Call
from fal_core.events import Sink
from fal_core.hosts import Execution, Host
from fal_testing import InProcessHost, WatchedHost


@attrs.define(eq=False, slots=False)
class NotesDrivers(InProcessHost):
    """Notes of each call whether its sink can drive it."""

    drivers: list[bool] = attrs.field(factory=list, init=False)

    def launch(self, call: Call, sink: Sink) -> Execution:
        self.drivers.append(isinstance(sink, Driver))
        return super().launch(call, sink)


def drivers_of(host: Host[..., Any], inner: NotesDrivers) -> list[bool]:
    """Return which calls on *host* have a sink that can drive them: one waited for, one submitted."""

    @function("current", host=host)
    def give() -> int:
        return 1

    del inner.drivers[:]
    assert give() == 1
    assert give.submit().result(30) == 1
    return [*inner.drivers]


def test_a_watched_call_is_driven_by_who_waits_for_it() -> None:
    """The host sees a driver for the calls that have one, watched or not."""
    inner = NotesDrivers()
    watched = WatchedHost(inner)
    assert drivers_of(watched, inner) == drivers_of(inner, inner) == [True, False]
    assert watched.all_ended(30)
