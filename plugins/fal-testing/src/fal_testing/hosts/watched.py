"""A wrapper host that knows which of its calls have ended."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs

from fal_core.calls import Call
from fal_core.events import Event, Exited, Sink
from fal_core.hosts import Execution
from fal_core.sinks import SinkAround
from fal_core.wrappers import WrapperHost
from fal_testing.harness.processes import wait_until


@attrs.define(eq=False, slots=False)
class WatchedHost(WrapperHost[..., Any]):
    """
    Passes everything to *inner*, and counts the calls that have not ended.

    Attributes:
        running: The ids of calls that were launched and have not ended.
    """

    name: ClassVar[str] = "watched"

    running: set[str] = attrs.field(factory=set, init=False)

    def launch(self, call: Call, sink: Sink) -> Execution:
        self.running.add(call.id)
        try:
            return self.inner.launch(call, _WatchingSink(self, call, sink).for_host())
        except BaseException:
            self.running.discard(call.id)
            raise

    def all_ended(self, timeout: float) -> bool:
        """Wait until every call has ended; return whether they did within *timeout* seconds."""
        return wait_until(lambda: not self.running, timeout)


class _WatchingSink(SinkAround):
    """A sink that tells the host once its call has ended, and passes all events on."""

    def __init__(self, host: WatchedHost, call: Call, sink: Sink) -> None:
        super().__init__(sink)
        self._host = host
        self._call = call

    def __call__(self, event: Event) -> None:
        if isinstance(event, Exited):
            self._host.running.discard(self._call.id)
        self.sink(event)
