"""Telemetry that reaches a collector, by HTTP and by gRPC."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import attrs
import grpc
import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc")

from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs_service
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as logs_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_service
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_service

from fal_server.logs.log_lines import LogLine
from fal_server.telemetry.exports import find_exports

TRACE = "0af7651916cd43dd8448eb211c80319c"
OTHER_TRACE = "1af7651916cd43dd8448eb211c80319c"


@attrs.define
class Collector:
    """What was sent to a collector."""

    records: list[Any] = attrs.field(factory=list)
    spans: list[Any] = attrs.field(factory=list)
    metrics: dict[str, Any] = attrs.field(factory=dict)
    services: set[str] = attrs.field(factory=set)

    def take(self, path: str, body: bytes) -> bytes:
        if path == "/v1/logs":
            logs = logs_service.ExportLogsServiceRequest.FromString(body)
            self.take_logs(logs)
            return bytes(logs_service.ExportLogsServiceResponse().SerializeToString())
        if path == "/v1/traces":
            traces = trace_service.ExportTraceServiceRequest.FromString(body)
            for each in traces.resource_spans:
                self.spans += [span for scope in each.scope_spans for span in scope.spans]
            return bytes(trace_service.ExportTraceServiceResponse().SerializeToString())
        metrics = metrics_service.ExportMetricsServiceRequest.FromString(body)
        for each in metrics.resource_metrics:
            found = [metric for scope in each.scope_metrics for metric in scope.metrics]
            self.metrics |= {metric.name: metric for metric in found}
        return bytes(metrics_service.ExportMetricsServiceResponse().SerializeToString())

    def take_logs(self, request: Any) -> None:
        for each in request.resource_logs:
            facts = facts_of(each.resource)
            self.services.add(facts["service.name"])
            self.records += [
                record for scope in each.scope_logs for record in scope.log_records
            ]


def facts_of(described: Any) -> dict[str, Any]:
    """Return the attributes of a record, a span or a resource."""
    return {
        each.key: getattr(each.value, each.value.WhichOneof("value"))
        for each in described.attributes
    }


def traceparent_of(told: Any) -> str:
    """Return the trace that a runner got with a request."""
    return str({name.lower(): text for name, text in told["headers"].items()}["traceparent"])


@pytest.fixture
def collector() -> Iterator[tuple[str, Collector]]:
    """A collector that is reached by HTTP, and its address."""
    collected = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            answer = collected.take(self.path, body)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", collected
    server.shutdown()
    thread.join()
    server.server_close()


def test_server_sends_logs_metrics_and_traces(make_standing, tmp_path, collector, settle):
    """
    A server whose variables name a collector sends it the lines of runners, what it tells of
    runners and deployments, its metrics, and a span of each request in the sender's trace;
    the runner gets that span as the parent of its own.
    """
    url, collected = collector
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_METRIC_EXPORT_INTERVAL": "200"}
    standing = make_standing(tmp_path, "--end-runners", variables=variables)
    standing.deploy("traced")
    parent = f"00-{TRACE}-b7ad6b7169203331-01"
    with standing.client("run") as client:
        answer = client.post("/owner/traced/", json={}, headers={"traceparent": parent})
        said = client.post("/owner/traced/say", json={"word": "a word"})
        assert said.status_code == 200
        other = {"traceparent": parent.replace(TRACE, OTHER_TRACE)}
        assert client.post("/owner/missing/", json={}, headers=other).status_code == 404
    queued = standing.submit("traced", traceparent=parent)
    in_queue = standing.finish("traced", queued).json()
    settle(lambda: "fal_server_procedures" in collected.metrics)
    standing.plane.close()
    assert collected.services == {"fal-core-server"}
    (line,) = [each for each in collected.records if each.body.string_value == "a word"]
    facts = facts_of(line)
    assert (facts["fal.application"], line.severity_text) == ("traced", "STDOUT")
    assert facts["fal.request_id"] == said.headers["x-fal-request-id"]
    events = [facts_of(each).get("fal.event") for each in collected.records]
    assert {"runner-started", "deployed"} <= set(events)
    spans = {each.name: each for each in collected.spans if each.trace_id.hex() == TRACE}
    assert {"POST run", "POST queue", "queue"} == set(spans)
    assert spans["queue"].parent_span_id == spans["POST queue"].span_id
    assert spans["queue"].span_id.hex() in traceparent_of(in_queue)
    assert facts_of(spans["queue"])["fal.request_id"] == queued
    span = spans["POST run"]
    found = facts_of(span)
    assert found["fal.application"] == "owner/traced"
    assert found["http.response.status_code"] == 200
    assert found["fal.request_id"] == answer.headers["x-fal-request-id"]
    assert traceparent_of(answer.json()).startswith(f"00-{TRACE}-{span.span_id.hex()}-")
    (refused,) = [each for each in collected.spans if each.trace_id.hex() == OTHER_TRACE]
    assert facts_of(refused)["http.response.status_code"] == 404
    assert (refused.status.code, [*refused.events]) == (0, [])
    runners = collected.metrics["fal_server_runners"].gauge
    assert facts_of(runners.data_points[0])["application"] == "owner/traced"
    assert collected.metrics["fal_server_procedures"].sum.is_monotonic


def test_logs_by_grpc(monkeypatch: pytest.MonkeyPatch):
    """A protocol that is named is used."""
    collected = Collector()

    class Service(logs_grpc.LogsServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:
            collected.take_logs(request)
            return logs_service.ExportLogsServiceResponse()

    server = grpc.server(futures.ThreadPoolExecutor(1))
    logs_grpc.add_LogsServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    variables = {
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_SERVICE_NAME": "mine",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    exports = find_exports(variables)
    assert exports is not None
    try:
        line = LogLine(message="told", account_id="a", application="app", runner_id="r")
        exports.take_lines([attrs.evolve(line, level="ERROR")])
    finally:
        exports.close()
        server.stop(None).wait()
    (record,) = collected.records
    assert (record.body.string_value, record.severity_number) == ("told", 17)
    assert collected.services == {"mine"}
