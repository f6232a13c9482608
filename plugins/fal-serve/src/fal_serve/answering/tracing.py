"""Tracing: W3C trace context, and OpenTelemetry if the process uses it."""

from __future__ import annotations

import re
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from fal_serve.answering.requests import current

_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


def trace_id(traceparent: bytes | None) -> str | None:
    """Return the trace id of *traceparent*, or None if it is malformed."""
    match = traceparent and _TRACEPARENT.match(traceparent)
    return match.group(1).decode() if match else None


def outgoing_headers() -> dict[str, str]:
    """Return the headers that keep a request to another service in the current trace."""
    if find_tracer() is not None:
        from opentelemetry.propagate import inject

        carrier: dict[str, str] = {}
        inject(carrier)
        return carrier
    request = current.get()
    if request is None:
        return {}
    names = ("traceparent", "tracestate")
    return {name: request.headers[name] for name in names if name in request.headers}


def find_tracer() -> Any:
    """
    Return a tracer of OpenTelemetry, or None if this process has not configured it.

    OpenTelemetry is not imported: a program that configured it has imported it.
    """
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None or isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return None
    return trace.get_tracer("fal_serve")


def find_request_tracer() -> Any:
    """Return the tracer for a span of each request, unless FastAPI makes these spans."""
    return None if "fastapi.telemetry" in sys.modules else find_tracer()


class TracedApplication:
    """
    An ASGI application that makes a span of each request.

    Arguments:
        label: Returns the route of a path.
    """

    def __init__(self, application: Any, tracer: Any, label: Callable[[str], str]) -> None:
        self._application = application
        self._tracer = tracer
        self._label = label

    async def __call__(
        self, scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]
    ) -> None:
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind, StatusCode

        carrier = {key.decode("latin-1"): v.decode("latin-1") for key, v in scope["headers"]}
        method = scope.get("method", "GET")
        route = self._label(scope["path"])
        with self._tracer.start_as_current_span(
            f"{method} {route}",
            context=extract(carrier),
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": method,
                "http.route": route,
                "url.path": scope["path"],
                "url.scheme": scope["scheme"],
            },
        ) as span:

            def watch(message: Any) -> Awaitable[None]:
                if message["type"] == "http.response.start":
                    status = message["status"]
                    span.set_attribute("http.response.status_code", status)
                    if status >= 500:
                        span.set_status(StatusCode.ERROR)
                return send(message)

            await self._application(scope, receive, watch)
