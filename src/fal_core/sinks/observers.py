"""Telling plugins about calls, and the trace context that travels with them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from fal_core.calls import Call
from fal_core.errors import HostError, PluginError
from fal_core.events import Event, Exited, Outcome, Sink
from fal_core.hosts import Execution, Host
from fal_core.plugins import installed as plugins
from fal_core.reprs import in_one_line
from fal_core.sinks.breaches import NO_END, breach_of
from fal_core.sinks.sinks_around import SinkAround


class ObservedSink(SinkAround):
    """A sink that tells plugins when a call begins and ends."""

    def __init__(self, call: Call, host: Host[..., Any], sink: Sink) -> None:
        super().__init__(sink)
        self._call = call
        self._host = host
        self._hooks = plugins.load_plugins().hooks
        self._began = time.monotonic()
        self._raised: bool | None = None
        self._has_told_end = False
        self._hooks.observe("fal_call_started", call=call, host=host, count=max(1, call.batch))

    def __call__(self, event: Event) -> None:
        super().__call__(event)
        breach = self._find_breach()
        if breach is not None and not self._has_told_end:
            # The core has ended the call, and the host may send no end of it any more.
            self._has_told_end = True
            self.tell_failure(breach)

    def on_outcome(self, outcome: Outcome) -> None:
        self._raised = outcome.raised
        self.sink(outcome)

    def on_exited(self, exited: Exited) -> None:
        self.sink(exited)
        if self._has_told_end:
            return
        self._has_told_end = True
        reason = self._find_breach() or exited.reason
        if reason is None and self._raised is None:
            reason = breach_of(self.host_name, NO_END)
        if reason is not None:
            self.tell_failure(reason)
        else:
            self._hooks.observe(
                "fal_call_finished",
                call=self._call,
                host=self._host,
                count=max(1, self._call.batch),
                seconds=time.monotonic() - self._began,
                raised=bool(self._raised),
            )

    def _find_breach(self) -> PluginError | None:
        """Return the error with which the call was broken off, as its host broke the contract."""
        sink = self.inner_sink
        while isinstance(sink, SinkAround):
            sink = sink.inner_sink
        exited = None if sink is None else sink.exited
        reason = None if exited is None else exited.reason
        return reason if isinstance(reason, PluginError) else None

    def tell_failure(self, error: HostError) -> None:
        """Tell plugins that the host has failed."""
        self._hooks.observe("fal_host_failed", call=self._call, host=self._host, error=error)


def launch_observed(
    launch: Callable[[Call, Sink], Execution], host: Host[..., Any], call: Call, sink: Sink
) -> Execution:
    """Launch *call* on *host* with *launch*, and tell the plugins that observe."""
    observed = ObservedSink(call, host, sink)
    try:
        return launch(call, observed.for_host())
    except Exception as error:
        # No event tells the end of a call that was not launched.
        observed.tell_failure(
            error if isinstance(error, HostError) else HostError(in_one_line(error))
        )
        raise


def current_traceparent() -> str | None:
    """Return the caller's span as W3C trace context, or None outside any span."""
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
