"""Hosts that break the laws of detached work."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from fal_core.abilities import ExecutionStatus, detaching
from fal_core.calls import Call
from fal_core.events import Sink
from fal_core.hosts import Execution
from mutants.wrappers import Broken, Passing


class DetachesNothing(Broken):
    """Runs detached work as any other."""

    def change(self, call: Call) -> Call:
        return attrs.evolve(call, lifetime="attached")


class ListsNothing(Broken):
    """Lists no detached work."""

    def executions(self) -> Iterable[ExecutionStatus]:
        return ()


class RepeatsTheJournal(Broken):
    """Sends the whole journal from its start to every client that attaches."""

    def attach(self, reference: str, sink: Sink, after: int = 0) -> Execution:
        return detaching(self.inner).attach(reference, sink, 0)


class AttachesToNothing(Broken):
    """Waits for work that there is not."""

    def attach(self, reference: str, sink: Sink, after: int = 0) -> Execution:
        try:
            return detaching(self.inner).attach(reference, sink, after)
        except Exception:
            return Passing(self, None, sink)  # type: ignore[arg-type]  # there is no call
