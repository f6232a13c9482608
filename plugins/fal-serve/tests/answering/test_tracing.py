"""Trace context: taken from the caller, passed on, and a span if the process makes them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import websockets
from fastapi import Response, WebSocket
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from fal_core_worker.serving.routes import RouteSignature
from fal_serve.answering import tracing
from fal_serve.answering.metrics import RouteLabels
from fal_serve.servables import BaseServable
from fal_testing.harness.processes import wait_until

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
HEADERS = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}


class Passing(BaseServable):
    """Returns the headers that another service would get."""

    def __init__(self, func: Any) -> None:
        pass

    def collect_routes(self) -> dict[RouteSignature, Any]:
        return {
            RouteSignature("/items/{name}"): self.item,
            RouteSignature("/unavailable"): self.unavailable,
            RouteSignature("/socket", is_websocket=True): self.socket,
            RouteSignature("/spans"): self.tell_spans,
        }

    def item(self, name: str) -> dict[str, str]:
        return tracing.outgoing_headers()

    def unavailable(self) -> Response:
        return Response(status_code=503)

    async def socket(self, websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_json(tracing.outgoing_headers())
        await websocket.close()

    def tell_spans(self) -> list[dict[str, Any]]:
        return []


class Traced(Passing):
    """The same in a process that uses OpenTelemetry."""

    @asynccontextmanager
    async def lifespan(self, app: Any) -> AsyncIterator[None]:
        from opentelemetry import trace

        self._exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        trace.set_tracer_provider(provider)
        yield

    def tell_spans(self) -> list[dict[str, Any]]:
        return [
            {
                "name": span.name,
                "kind": span.kind.name,
                "trace": f"{span.context.trace_id:032x}",
                "parent": span.parent and f"{span.parent.span_id:016x}",
                "id": f"{span.context.span_id:016x}",
                "status": span.status.status_code.name,
                "attributes": dict(span.attributes),
            }
            for span in self._exporter.get_finished_spans()
        ]


def nothing() -> None: ...


def test_context_of_the_caller_is_passed_on(serve_with):
    """In a process without tracing, the caller's context is passed on unchanged."""
    service = serve_with(nothing, Passing)
    assert httpx.post(service.url + "/items/x", headers=HEADERS).json() == HEADERS
    assert httpx.post(service.url + "/items/x").json() == {}


def test_nothing_is_passed_on_outside_a_request():
    """Outside a request there is no trace context."""
    assert tracing.outgoing_headers() == {}


def test_requests_are_spans_where_the_process_uses_opentelemetry(serve_with):
    """A request's span is a child of the caller's and the parent of the handler's."""
    service = serve_with(nothing, Traced)
    passed = httpx.post(service.url + "/items/x", headers=HEADERS).json()
    httpx.post(service.url + "/unavailable")

    async def talk() -> Any:
        url = service.url.replace("http", "ws") + "/socket"
        async with websockets.connect(url, additional_headers=HEADERS) as client:
            return await client.recv()

    assert TRACE in asyncio.run(talk())
    spans: list[dict[str, Any]] = []

    def find_served() -> list[dict[str, Any]]:
        spans[:] = httpx.post(service.url + "/spans").json()
        ended = [span for span in spans if span["kind"] == "SERVER"]
        return [span for span in ended if span["attributes"]["http.route"] != "/spans"]

    # That of a websocket ends once its handler has, which a client does not see.
    assert wait_until(lambda: len(find_served()) >= 3, 60)
    ended = find_served()
    served = {span["attributes"]["http.route"]: span for span in ended}
    assert len(served) == len(ended) == 3, "One for each request."
    item = served["/items/{name}"]
    assert (item["name"], item["status"]) == ("POST /items/{name}", "UNSET")
    assert (item["trace"], item["parent"]) == (TRACE, PARENT)
    assert item["attributes"]["http.response.status_code"] == 200
    version, trace, parent, _ = passed["traceparent"].split("-")
    assert (version, trace) == ("00", TRACE)
    assert parent in {span["id"] for span in spans}
    assert passed["tracestate"] == "vendor=1"
    unavailable = served["/unavailable"]
    assert (unavailable["status"], unavailable["parent"]) == ("ERROR", None)
    assert served["/socket"]["trace"] == TRACE


class Spans:
    """A tracer provider that records its spans."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = provider.get_tracer("test")

    def of(self, application: Any, **scope: Any) -> Any:
        """Send one request to *application*, and return its span."""

        async def send(message: Any) -> None: ...

        headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
        scope = {"type": "http", "scheme": "http", "headers": headers, **scope}
        traced = tracing.TracedApplication(
            application, self.tracer, RouteLabels(["/items/{name}"])
        )
        with contextlib.suppress(LookupError):
            asyncio.run(traced(scope, None, send))
        (span,) = self.exporter.get_finished_spans()
        return span


def test_span_that_is_made_here_tells_of_the_request():
    """Without FastAPI's own spans, a span has the facts of the request and response."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 503})
        await send({"type": "http.response.body"})

    span = Spans().of(answer, method="POST", path="/items/x")
    assert span.name == "POST /items/{name}"
    assert span.kind is SpanKind.SERVER
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == PARENT
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes == {
        "http.request.method": "POST",
        "http.route": "/items/{name}",
        "http.response.status_code": 503,
        "url.path": "/items/x",
        "url.scheme": "http",
    }


def test_span_that_is_made_here_tells_what_was_raised():
    """An exception that passes is an event of the span."""

    async def fail(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError("gone")

    span = Spans().of(fail, path="/nowhere")
    assert span.name == "GET unmatched"
    assert span.status.status_code is StatusCode.ERROR
    assert span.events[0].attributes["exception.message"] == "gone"


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        b"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        b'00-0af7651916cd43dd8448eb211c80319"-b7ad6b7169203331-01',
    ],
)
def test_malformed_context_is_none(header):
    """A malformed trace context is ignored."""
    assert tracing.trace_id(header) is None


@given(st.binary())
def test_whatever_is_sent_as_context_is_safe(header):
    """The trace id is hexadecimal or None, whatever is sent."""
    trace = tracing.trace_id(header)
    assert trace is None or int(trace, 16) >= 0
