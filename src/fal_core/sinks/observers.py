"""
Telling plugins of calls, and the trace context that travels with them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from fal_core.abilities import Driver
from fal_core.calls import Call
from fal_core.events import Event, Exited, Outcome
from fal_core.hosts import Host
from fal_core.plugins import installed as plugins


class ObservedSink(Driver):
    """
    A sink that tells plugins how a call begins and ends.
    """

    def __init__(self, call: Call, host: Host[..., Any], sink: Callable[[Event], None]) -> None:
        self._call = call
        self._host = host
        self._sink = sink
        self._hook = plugins.load_plugins().hook
        self._began = time.monotonic()
        self._raised: bool | None = None
        self._hook.fal_call_started(call=call, host=host, count=max(1, call.batch))

    def __call__(self, event: Event) -> None:
        if isinstance(event, Outcome):
            self._raised = event.raised
        self._sink(event)
        if not isinstance(event, Exited):
            return
        if event.reason is not None:
            self._hook.fal_host_failed(call=self._call, host=self._host, error=event.reason)
        else:
            self._hook.fal_call_finished(
                call=self._call,
                host=self._host,
                count=max(1, self._call.batch),
                seconds=time.monotonic() - self._began,
                raised=bool(self._raised),
            )


class FollowedSink:
    """
    The same for a sink that no thread drives.
    """

    def __init__(self, observed: ObservedSink) -> None:
        self._observed = observed

    def __call__(self, event: Event) -> None:
        self._observed(event)


def observed(
    call: Call, host: Host[..., Any], sink: Callable[[Event], None]
) -> Callable[[Event], None]:
    """
    Return *sink* with the plugins that observe told of what passes.
    """
    around = ObservedSink(call, host, sink)
    return around if isinstance(sink, Driver) else FollowedSink(around)


def current_traceparent() -> str | None:
    """
    Return the caller's span as W3C trace context, or None outside any span.
    """
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
