"""The counters of the control plane, for Prometheus."""

from __future__ import annotations

import hmac

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector


class ServerMetrics:
    """
    The metrics of one control plane.

    Attributes:
        registry: Collectors of other modules are added here.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.procedures = Counter(
            "fal_server_procedures",
            "gRPC methods that ended, by status code.",
            ("procedure", "code"),
            registry=self.registry,
        )
        self.requests = Counter(
            "fal_server_http_requests",
            "HTTP requests to the API.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self.refused_keys = Counter(
            "fal_server_refused_callers",
            "Requests that failed authentication.",
            registry=self.registry,
        )
        self.log_lines = Counter(
            "fal_server_log_lines", "Log lines that were stored.", registry=self.registry
        )
        self.streams = Gauge(
            "fal_server_streams", "Open streams of gRPC methods.", registry=self.registry
        )
        self.writes = Histogram(
            "fal_server_write_seconds",
            "Duration of write transactions of the database.",
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
            registry=self.registry,
        )

        self.starts = Histogram(
            "fal_server_runner_start_seconds",
            "Time from the launch of a runner until it took requests.",
            buckets=(0.1, 0.3, 1, 3, 10, 30, 60, 180, 600, 1800),
            registry=self.registry,
        )
        self.deliveries = Counter(
            "fal_server_webhook_deliveries",
            "Deliveries to webhooks, by outcome: taken, failed, or given up.",
            ("outcome",),
            registry=self.registry,
        )

    def observe_write(self, count: int, seconds: float) -> None:
        """Count a transaction of *count* writes."""
        self.writes.observe(seconds)

    def make_application(self, key: str | None = None) -> web.Application:
        """
        Make the HTTP application that serves the metrics.

        Arguments:
            key: What a reader has to show as a bearer token. None where all may read.
        """
        expected = None if key is None else f"Bearer {key}".encode()

        async def show(request: web.Request) -> web.Response:
            shown = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
            if expected is not None and not hmac.compare_digest(shown, expected):
                self.refused_keys.inc()
                detail = "The metrics are for those who have their key, as a bearer token."
                headers = {"WWW-Authenticate": "Bearer"}
                return web.json_response({"detail": detail}, status=401, headers=headers)
            return self._show()

        application = web.Application()
        application.router.add_get("/metrics", show)
        return application

    def _show(self) -> web.Response:
        return web.Response(
            body=generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )
