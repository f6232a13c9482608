"""Hosts that break the laws of warm and shared workers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable
from typing import Any

import attrs

from fal_core.abilities import Driver
from fal_core.calls import Call
from fal_core.errors import HostClosed
from fal_core.events import Event, Log, Sink, State
from fal_core.hosts import Execution
from fal_core.pools import Shared
from fal_host_local import LocalHost
from mutants.conditions import is_submitted
from mutants.wrappers import Broken, Passing

_moments = itertools.count(0.05, 1e-6)


class StartsAnewEachTime(Broken):
    """Keeps no worker for the second of the calls that are waited for."""

    def launch(self, call: Call, sink: Sink) -> Execution:
        if isinstance(sink, Driver):
            # No other call has these options, and so none has this worker.
            options = attrs.evolve(call.host_options, keep_alive=next(_moments))
            call = attrs.evolve(call, host_options=options)
        return super().launch(call, sink)


class ClaimsToKeepWorkers(Broken):
    """Says that it keeps workers, and names no option of theirs."""

    @property
    def capabilities(self) -> Any:  # type: ignore[override]  # the host's own
        return attrs.evolve(self.inner.capabilities, keep_alive=True)


class KeepsNoSpareWorkers(Broken):
    """Takes no notice of ``min_concurrency``."""

    def change(self, call: Call) -> Call:
        options = attrs.evolve(call.host_options, min_concurrency=None)
        return attrs.evolve(call, host_options=options)


class LeaksWorkers(Broken):
    """Never ends a worker."""

    def change(self, call: Call) -> Call:
        options = attrs.evolve(call.host_options, keep_alive=3600)
        return attrs.evolve(call, host_options=options)


class SharesWorkers(LocalHost):
    """Runs functions of any setup in the same workers."""

    def shared_by(self, call: Shared) -> Hashable:
        return call.environment.key


@attrs.define(eq=False, slots=False)
class KeepsFirstSources(Broken):
    """Sends the local modules of a function as they were at its first call."""

    first: dict[str, Any] = attrs.field(factory=dict)

    def change(self, call: Call) -> Call:
        return attrs.evolve(call, sources=self.first.setdefault(call.name, call.sources))


class RunsOneAtATime(Broken):
    """Takes no notice of ``max_multiplexing``."""

    def change(self, call: Call) -> Call:
        options = attrs.evolve(call.host_options, max_multiplexing=None)
        return attrs.evolve(call, host_options=options)


@attrs.define(eq=False, slots=False)
class MixesLines(Broken):
    """Gives lines to the call that was launched last."""

    latest: Passing | None = None

    def launch(self, call: Call, sink: Sink) -> Execution:
        self.latest = None
        return super().launch(call, sink)

    def take(self, event: Event, passing: Passing) -> None:
        if event == State("running"):
            self.latest = passing
        latest = self.latest
        if isinstance(event, Log) and latest is not None and not latest.ended:
            latest.send_on(event)
        else:
            passing.send_on(event)


@attrs.define(eq=False, slots=False)
class CancelsNeighbours(Broken):
    """Cancels every call of a worker with one of them."""

    running: list[Passing] = attrs.field(factory=list)

    def take(self, event: Event, passing: Passing) -> None:
        if event == State("running"):
            self.running.append(passing)
        passing.send_on(event)

    def cancel(self, grace: float, passing: Passing) -> None:
        passing.cancel_inner(grace)
        for other in self.running:
            if not other.ended and other is not passing:
                other.cancel_inner(grace)


@attrs.define(eq=False, slots=False)
class GivesUpOn(Broken):
    """Takes no more calls of a function after something has happened to one."""

    what: Callable[[Event], bool]
    bad: set[str] = attrs.field(factory=set)

    def launch(self, call: Call, sink: Sink) -> Execution:
        if call.function.digest in self.bad:
            raise HostClosed("local", "The worker is broken.")
        return super().launch(call, sink)

    def take(self, event: Event, passing: Passing) -> None:
        if not is_submitted(passing) and self.what(event):
            self.bad.add(passing.call.function.digest)
        passing.send_on(event)
