"""Conditions by which broken hosts select events and calls."""

from __future__ import annotations

from typing import Any

from fal_core.abilities import Driver
from fal_core.batching.batches import Batch
from fal_core.calling.spawning import SpawnSink
from fal_core.errors import Cancelled, WorkerLost
from fal_core.events import Event, Exited, Outcome
from fal_core.sinks.sinks_around import SinkAround
from fal_testing.harness.recorders import Recorder
from mutants.wrappers import Passing


def is_error(event: Event) -> bool:
    """Tell whether the function raised."""
    return isinstance(event, Outcome) and event.raised


def is_cancelled(event: Event) -> bool:
    """Tell whether the call was cancelled."""
    return isinstance(event, Exited) and isinstance(event.reason, Cancelled)


def is_crash(event: Event) -> bool:
    """Tell whether the worker was lost."""
    return isinstance(event, Exited) and isinstance(event.reason, WorkerLost)


def is_iterated(passing: Passing) -> bool:
    """Tell whether the items of the call are iterated over."""
    return passing.call.stream and not isinstance(innermost(passing), Recorder)


def is_recorded(passing: Passing) -> bool:
    """Tell whether a law looks at the events one by one; other sinks name some breaches."""
    return isinstance(innermost(passing), Recorder)


def is_spawned(passing: Passing) -> bool:
    """Tell whether the call was spawned."""
    return isinstance(innermost(passing), SpawnSink)


def is_submitted(passing: Passing) -> bool:
    """Tell whether the call was submitted."""
    return isinstance(innermost(passing), Batch)


def is_waited_for(passing: Passing) -> bool:
    """Tell whether a thread waits for the call."""
    return isinstance(passing.sink, Driver)


def innermost(passing: Passing) -> Any:
    """Return the sink of the core that a call was launched with, without those around it."""
    sink: Any = passing.sink
    while isinstance(sink := getattr(sink, "__self__", sink), SinkAround):
        sink = sink.sink
    return sink
