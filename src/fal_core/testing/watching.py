"""
A host around a host that knows which of its calls have ended.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import attrs

from fal_core.calls import Call
from fal_core.events import Event, Exited, Sink
from fal_core.hosts import Capabilities, Execution, ExecutionStatus, Host
from fal_core.options import HostOptions
from fal_core.testing.processes import wait_until


@attrs.define(eq=False, slots=False)
class WatchedHost(Host[..., Any]):
    """
    Passes everything to *inner*, and counts the calls that have not ended.

    Attributes:
        running: The ids of calls that were launched and have not ended.
    """

    name: ClassVar[str] = "watched"

    inner: Host[..., Any]
    running: set[str] = attrs.field(factory=set, init=False)

    @property
    def options(self) -> type[HostOptions]:  # type: ignore[override]
        return self.inner.options

    @property
    def capabilities(self) -> Capabilities:  # type: ignore[override]
        return self.inner.capabilities

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

    def attach(self, reference: str, sink: Sink, after: int = 0) -> Execution:
        return self.inner.attach(reference, sink, after)

    def executions(self) -> Iterable[ExecutionStatus]:
        return self.inner.executions()

    def all_ended(self, timeout: float) -> bool:
        """
        Wait for the end of every call; tell whether it came within *timeout* seconds.
        """
        return wait_until(lambda: not self.running, timeout)
