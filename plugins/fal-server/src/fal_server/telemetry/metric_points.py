"""
Metric points: what collectors of Prometheus count, as OpenTelemetry has it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client.metrics_core import Metric


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
