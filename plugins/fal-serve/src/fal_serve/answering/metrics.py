"""Metrics: what a service counts, in the format of Prometheus."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import Any

#: The upper bounds of the histogram's buckets, in seconds.
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
#: The label of requests that match no route. Their paths may be anything.
UNMATCHED = "unmatched"
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WEBSOCKET"))


class RouteLabels:
    """Finds the route of a path, which is the label of its requests."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._plain: dict[str, str] = {}
        self._patterns: list[tuple[re.Pattern[str], str]] = []
        for path in paths:
            if "{" in path:
                from starlette.routing import compile_path

                self._patterns.append((compile_path(path)[0], path))
            else:
                self._plain[path] = path

    def __call__(self, path: str) -> str:
        """Return the route that matches *path*."""
        label = self._plain.get(path)
        if label is not None:
            return label
        for pattern, route in self._patterns:
            if pattern.match(path):
                return route
        return UNMATCHED


class RequestCounts:
    """The requests of one method on one route that ended with one status."""

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.buckets: list[int] = [0] * (len(BOUNDS) + 1)
        self.seconds: float = 0.0


class ServiceMetrics:
    """
    The counters of a running service. The event loop counts, any thread may read.

    Attributes:
        running: The requests in progress.

        waiting: Returns how many requests wait for their turn.
    """

    def __init__(self, version: str) -> None:
        self._version = version
        self._records: dict[tuple[str, str, int], RequestCounts] = {}
        self.running = 0
        self.waiting: Callable[[], int] = lambda: 0

    def count(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request that has ended."""
        record = self._records.get((route, method, status))
        if record is None:
            if method not in _METHODS:
                # A client may send any word as its method.
                self.count(route, "OTHER", status, seconds)
                return
            record = self._records[route, method, status] = RequestCounts()
        record.buckets[bisect_left(BOUNDS, seconds)] += 1
        record.seconds += seconds

    def collect(self) -> Iterator[Any]:
        """Yield all metric families, as a registry of ``prometheus_client`` asks for them."""
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        info = GaugeMetricFamily(
            "fal_app_info", "The version of the application.", labels=["version"]
        )
        info.add_metric([self._version], 1)
        yield info
        names = ["method", "path", "status_code", "app_name"]
        total = CounterMetricFamily("http_requests", "Requests that ended.", labels=names)
        taken = HistogramMetricFamily(
            "http_request_duration_seconds", "How long requests took.", labels=names
        )
        for (route, method, status), record in list(self._records.items()):
            labels = [method, route, str(status), "fal"]
            buckets, count = [], 0
            for bound, number in zip((*map(str, BOUNDS), "+Inf"), record.buckets, strict=True):
                count += number
                buckets.append((bound, count))
            total.add_metric(labels, count)
            taken.add_metric(labels, buckets, record.seconds)
        yield total
        yield taken
        yield GaugeMetricFamily(
            "http_requests_in_progress", "Requests in progress.", value=self.running
        )
        yield GaugeMetricFamily(
            "http_requests_waiting", "Requests that wait for their turn.", value=self.waiting()
        )

    def text(self) -> bytes:
        """Return all metrics as text, with those of the process and the user's own."""
        # Imported on the first scrape: it takes a tenth of a service's start.
        from prometheus_client import REGISTRY, CollectorRegistry, generate_latest

        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry) + generate_latest(REGISTRY)
