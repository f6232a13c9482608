"""Traces: a function sees the trace of its caller."""

from __future__ import annotations

import pytest

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def look() -> dict[str, str]:
    """Return the trace variables, and the id of the process."""
    import os

    names = ("TRACEPARENT", "TRACESTATE", "BAGGAGE")
    found = {name: os.environ[name] for name in names if name in os.environ}
    return {**found, "PID": str(os.getpid())}


def run(served_plane, **metadata: str) -> dict[str, str]:
    found = served_plane.run(look, **metadata)
    assert isinstance(found, dict)
    return found


def test_trace_of_the_caller_reaches_a_function(served_plane):
    """
    A function finds the trace of its own call in its variables, and none of a call
    before it in the same runner.
    """
    told = {"traceparent": TRACE, "tracestate": "vendor=1", "baggage": "k=v"}
    first, second, third = (
        run(served_plane, **told),
        run(served_plane),
        run(served_plane, traceparent=TRACE),
    )
    assert first.pop("PID") == second.pop("PID") == third.pop("PID")
    assert first == {"TRACEPARENT": TRACE, "TRACESTATE": "vendor=1", "BAGGAGE": "k=v"}
    assert (second, third) == ({}, {"TRACEPARENT": TRACE})


def test_span_of_a_released_client_is_a_trace(served_plane):
    """The numbers of a span that released clients send stand for a trace."""
    found = run(served_plane, **{"x-datadog-trace-id": "255", "x-datadog-parent-id": "4096"})
    assert found["TRACEPARENT"] == f"00-{'ff':0>32}-{'1000':0>16}-01"


@pytest.mark.parametrize(
    "metadata",
    [
        {"traceparent": ""},
        {"traceparent": TRACE[:-1]},
        {"traceparent": f"{TRACE}-more"},
        {"traceparent": f"ff{TRACE[2:]}"},
        {"traceparent": TRACE.replace("b7ad6b7169203331", "0" * 16)},
        {"tracestate": "vendor=1"},
        {"x-datadog-trace-id": "255"},
        {"x-datadog-trace-id": "-1", "x-datadog-parent-id": "x"},
        {"x-datadog-trace-id": "0", "x-datadog-parent-id": "1"},
    ],
)
def test_malformed_trace_is_dropped(served_plane, metadata):
    """A malformed trace header is dropped, and the call goes on."""
    assert {*run(served_plane, **metadata)} == {"PID"}
