"""Exports: what a server sends to a collector of OpenTelemetry."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import attrs
from aiohttp import web
from aiohttp.web_request import BaseRequest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from fal_server.activity import announcements
from fal_server.errors import Refusal
from fal_server.logs.log_lines import LogLine
from fal_server.telemetry.contexts import Finish, MakeSpan, no_span, trace_headers

#: The signals, by the names that variables have for them.
TRACES, METRICS, LOGS = "TRACES", "METRICS", "LOGS"

_ENDPOINT, _PROTOCOL = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL"


@attrs.frozen(kw_only=True)
class Signals:
    """
    What is sent by OTLP.

    Attributes:
        protocols: The protocol of each signal that is sent: ``grpc`` or ``http/protobuf``.

        interval: Seconds between two exports of metrics.

        is_named: Whether the variables name the service.
    """

    protocols: Mapping[str, str]
    interval: float = 60.0
    is_named: bool = False


def find_signals(variables: Mapping[str, str]) -> Signals:
    """
    Return what *variables* ask to send: the signals whose exporter is ``otlp``, or, where
    that is not said, all that have an endpoint.
    """
    protocols = {}
    if variables.get("OTEL_SDK_DISABLED", "").strip().lower() != "true":
        for signal in (TRACES, METRICS, LOGS):
            if _is_sent(variables, signal):
                own = f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL"
                written = variables.get(own) or variables.get(_PROTOCOL) or "http/protobuf"
                protocols[signal] = written.strip().lower()
    resource = variables.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return Signals(
        protocols=protocols,
        interval=_seconds(variables.get("OTEL_METRIC_EXPORT_INTERVAL", "")),
        is_named=bool(variables.get("OTEL_SERVICE_NAME")) or "service.name=" in resource,
    )


def _is_sent(variables: Mapping[str, str], signal: str) -> bool:
    chosen = variables.get(f"OTEL_{signal}_EXPORTER", "").strip().lower()
    if chosen:
        return "otlp" in chosen.split(",")
    return bool(
        variables.get(_ENDPOINT) or variables.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    )


def _seconds(milliseconds: str) -> float:
    try:
        found = float(milliseconds) / 1000
    except ValueError:
        return Signals(protocols={}).interval
    return max(found, 0.1)


logger = logging.getLogger(__name__)

Answer = Callable[[BaseRequest], Awaitable[web.StreamResponse]]

#: What the server logs, and what it announces, which is passed on to nobody else.
_LOGGERS = (logging.getLogger("fal_server"), announcements.logger)

#: Seconds that what waits has to be sent when the server ends.
_PATIENCE = 5.0

#: The number that OpenTelemetry has for each level.
_SEVERITIES = {"TRACE": 1, "DEBUG": 5, "INFO": 9, "WARNING": 13, "ERROR": 17, "CRITICAL": 21}


@attrs.define(eq=False)
class Exports:
    """
    Sends the lines of runners, announcements, metrics and spans of requests.

    Arguments:
        _logs: Makes records of logs. None where they are not sent, as for the others.

        _traces: Makes spans.

        _metrics: Sends metrics.
    """

    signals: Signals
    resource: Any = None
    _logs: Any = None
    _traces: Any = None
    _metrics: Any = None
    _handler: logging.Handler | None = attrs.field(default=None, init=False)
    _started: int = attrs.field(factory=time.time_ns, init=False)

    def __attrs_post_init__(self) -> None:
        if self._logs is not None:
            self._handler = _Announcements(self._logs)
            for each in _LOGGERS:
                each.addHandler(self._handler)

    @property
    def sends_logs(self) -> bool:
        """Whether lines are sent."""
        return self._logs is not None

    def take_lines(self, lines: Sequence[LogLine]) -> None:
        """Send lines of runners."""
        emit = self._logs.get_logger("fal_server.runners").emit
        for line in lines:
            facts = {
                "fal.application": line.application,
                "fal.account_id": line.account_id,
                "fal.runner_id": line.runner_id,
                "fal.request_id": line.request_id or "",
                "fal.source": line.source,
            }
            emit(_record(line.message, line.level, line.time, facts))

    def trace(self, gateway: str, answer: Answer) -> Answer:
        """
        Return *answer* with a span for each request, in the trace of its sender. Runners get
        the span as their parent.
        """
        if self._traces is None:
            return answer

        async def traced(request: BaseRequest) -> web.StreamResponse:
            owner, _, rest = request.path.strip("/").partition("/")
            facts = {
                "http.request.method": request.method,
                "fal.gateway": gateway,
                "fal.application": f"{owner}/{rest.partition('/')[0]}"[:200],
            }
            with self.span(f"{request.method} {gateway}", request.headers, facts) as finish:
                try:
                    response = await answer(request)
                except Refusal as refusal:
                    finish(refusal.http, "")
                    raise
                except web.HTTPException as answered:
                    finish(answered.status, "")
                    raise
                except Exception:
                    finish(500, "")
                    raise
                finish(response.status, response.headers.get("x-fal-request-id", ""))
                return response

        return traced

    @property
    def make_span(self) -> MakeSpan:
        """What makes spans of requests that do not come at a gateway."""
        return no_span if self._traces is None else self.span

    @contextlib.contextmanager
    def span(
        self,
        name: str,
        headers: Mapping[str, str],
        facts: Mapping[str, Any],
        *,
        kind: Literal["SERVER", "CONSUMER"] = "SERVER",
    ) -> Iterator[Finish]:
        """Make a span of a request, as :class:`MakeSpan` does."""
        from opentelemetry.propagate import extract, inject
        from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context

        tracer = self._traces.get_tracer("fal_server")
        carrier = {name.lower(): value for name, value in headers.items()}
        context = extract(carrier)
        with tracer.start_as_current_span(
            name,
            context=context,
            kind=SpanKind[kind],
            attributes=dict(facts),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:

            def finish(status: int, request_id: str) -> None:
                span.set_attribute("http.response.status_code", status)
                if request_id:
                    span.set_attribute("fal.request_id", request_id)
                if status >= 500:
                    span.set_status(StatusCode.ERROR)

            sent: dict[str, str] = {}
            inject(sent, set_span_in_context(span))
            token = trace_headers.set(sent)
            try:
                yield finish
            finally:
                trace_headers.reset(token)

    async def send_metrics(self, registry: CollectorRegistry) -> None:
        """Send the metrics of *registry* again and again, until it is cancelled."""
        while self._metrics is not None:
            # Collectors count in this loop what changes in it.
            data = to_metrics([*registry.collect()], self.resource, self._started)
            await asyncio.to_thread(self._metrics.export, data)
            await asyncio.sleep(self.signals.interval)

    def close(self) -> None:
        """Send what waits, and end."""
        for each in _LOGGERS:
            if self._handler is not None:
                each.removeHandler(self._handler)
        open = [each for each in (self._logs, self._traces, self._metrics) if each is not None]
        threads = [threading.Thread(target=each.shutdown, daemon=True) for each in open]
        for thread in threads:
            thread.start()
        until = time.monotonic() + _PATIENCE
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))


class _Announcements(logging.Handler):
    """Sends what the server logs of itself."""

    def __init__(self, provider: Any) -> None:
        super().__init__()
        self._log = provider.get_logger("fal_server")

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record."""
        facts = {f"fal.{name}": value for name, value in getattr(record, "facts", {}).items()}
        facts["logger.name"] = record.name
        self._log.emit(_record(record.getMessage(), record.levelname, record.created, facts))


def find_exports(variables: Mapping[str, str]) -> Exports | None:
    """
    Return what sends the signals that *variables* ask for. None where that is nothing.
    Exporters read the same variables of this process, now.
    """
    signals = find_signals(variables)
    if not signals.protocols:
        return None
    try:
        return _make_exports(signals)
    except ImportError as error:
        logger.warning(
            "Nothing is sent to OpenTelemetry, which its variables ask for: %s. Install "
            "'fal-server[telemetry]'.",
            error,
        )
        return None


def _make_exports(signals: Signals) -> Exports:
    from opentelemetry.sdk.resources import Resource

    named = {} if signals.is_named else {"service.name": "fal-core-server"}
    resource = Resource.create(named)
    logs = traces = metrics = None
    if LOGS in signals.protocols:
        # OpenTelemetry's documentation has its logs under these names.
        from opentelemetry.sdk._logs import LoggerProvider
        from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

        logs = LoggerProvider(resource, shutdown_on_exit=False)
        exporter = _exporter(signals, LOGS, "_log_exporter", "OTLPLogExporter")
        logs.add_log_record_processor(BatchLogRecordProcessor(exporter))
    if TRACES in signals.protocols:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        traces = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = _exporter(signals, TRACES, "trace_exporter", "OTLPSpanExporter")
        traces.add_span_processor(BatchSpanProcessor(exporter))
    if METRICS in signals.protocols:
        metrics = _exporter(signals, METRICS, "metric_exporter", "OTLPMetricExporter")
    return Exports(signals, resource, logs, traces, metrics)


def _exporter(signals: Signals, signal: str, module: str, name: str) -> Any:
    from importlib import import_module

    protocol = "grpc" if signals.protocols[signal] == "grpc" else "http"
    found = import_module(f"opentelemetry.exporter.otlp.proto.{protocol}.{module}")
    return getattr(found, name)()


def _record(text: str, level: str, seconds: float, facts: Mapping[str, Any]) -> Any:
    from opentelemetry._logs import LogRecord, SeverityNumber

    return LogRecord(
        timestamp=int(seconds * 1e9),
        observed_timestamp=time.time_ns(),
        severity_text=level,
        severity_number=SeverityNumber(_SEVERITIES.get(level, _SEVERITIES["INFO"])),
        body=text,
        attributes={name: value for name, value in facts.items() if value != ""},
    )


def to_metrics(families: Iterable[Metric], resource: Any, started: int) -> Any:
    """
    Return the metrics of *families*. Those of a histogram are its sums, as Prometheus has them:
    of its buckets, its values and their number.

    Arguments:
        started: Nanoseconds since the epoch, from which on they are counted.
    """
    from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    scope = ScopeMetrics(InstrumentationScope("fal_server"), [*_metrics(families, started)], "")
    return MetricsData([ResourceMetrics(resource, [scope], "")])


def _metrics(families: Iterable[Metric], started: int) -> Iterator[Any]:
    from opentelemetry.sdk.metrics import export

    now = time.time_ns()
    for family in families:
        found: dict[str, list[Any]] = {}
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                point = export.NumberDataPoint(dict(sample.labels), started, now, sample.value)
                found.setdefault(sample.name, []).append(point)
        for name, points in found.items():
            data: Any = export.Gauge(points)
            if family.type in ("counter", "histogram"):
                data = export.Sum(points, export.AggregationTemporality.CUMULATIVE, True)
            yield export.Metric(name.removesuffix("_total"), family.documentation, "", data)
