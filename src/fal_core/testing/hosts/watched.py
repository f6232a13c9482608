"""
A wrapper host that knows which of its calls have ended.
"""

from __future__ import annotations

from typing import Any, ClassVar

import attrs

from fal_core.calls import Call
from fal_core.events import Event, Exited, Sink
from fal_core.hosts import Execution
from fal_core.testing.harness.processes import wait_until
from fal_core.wrappers import WrapperHost


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
        def watch(event: Event) -> None:
            if isinstance(event, Exited):
                self.running.discard(call.id)
            sink(event)

        self.running.add(call.id)
        try:
            return self.inner.launch(call, watch)
        except BaseException:
            self.running.discard(call.id)
            raise

    def all_ended(self, timeout: float) -> bool:
        """
        Wait until every call has ended; return whether they did within *timeout* seconds.
        """
        return wait_until(lambda: not self.running, timeout)
