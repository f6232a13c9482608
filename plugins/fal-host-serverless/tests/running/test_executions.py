"""Runs of the service, and why they end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fal_core import function
from fal_core.errors import FalCoreError, InternalFalServerlessError, UnsupportedError
from fal_host_serverless import FalServerlessHost


def test_generator_is_refused_with_what_to_do(host: Any):
    """A function that yields is refused, and the error says what to do instead."""

    @function("virtualenv", host=host)
    def count() -> Iterator[int]:
        yield 1

    with pytest.raises(UnsupportedError, match="Return a list, or serve"):
        list(count())

    @function("virtualenv", host=host)
    def give() -> Any:
        return (number for number in range(3))

    with pytest.raises(TypeError, match="Return a list, or serve"):
        give()


def test_unreachable_service_is_an_error_of_the_host():
    """The error of a call to an unreachable service names the address."""

    @function("virtualenv", host=FalServerlessHost("127.0.0.1:1"))
    def nothing() -> None:
        return None

    with pytest.raises(FalCoreError, match=r"127\.0\.0\.1:1"):
        nothing()


def test_trace_of_the_caller_goes_along(recorder: Any):
    """A request carries the trace context of the caller."""
    from opentelemetry.sdk.trace import TracerProvider

    @function("virtualenv", host=FalServerlessHost(recorder.address))
    def nothing() -> None:
        return None

    tracer = TracerProvider().get_tracer("test")
    with (
        tracer.start_as_current_span("outer") as span,
        pytest.raises(InternalFalServerlessError),
    ):
        nothing()
    context = span.get_span_context()
    told = recorder.metadata[-1]["traceparent"]
    assert told.startswith(f"00-{context.trace_id:032x}-{context.span_id:016x}-")
