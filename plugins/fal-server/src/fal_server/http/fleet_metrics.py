"""Fleet metrics: gauges of runners and requests, counted when the metrics are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import attrs
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fal_server.queue.request_queues import RequestQueue
from fal_server.routing.catalogs import ApplicationCatalog
from fal_server.routing.function_pools import FunctionPools
from fal_server.routing.runner_pools import RunnerPool


@attrs.define(eq=False)
class FleetMetrics(Collector):
    """
    Collects the numbers of runners and requests. It runs in the event loop of the control
    plane, so that nothing changes meanwhile.

    Applications are labelled by owner and alias. Ephemeral applications and functions have
    an empty label, as each of their names would be a label that is used only once.
    """

    catalog: ApplicationCatalog
    queue: RequestQueue
    functions: FunctionPools

    def collect(self) -> Iterator[Metric]:
        """Yield the present numbers."""
        runners: Counter[tuple[str, ...]] = Counter()
        waiting: Counter[tuple[str, ...]] = Counter()
        running: Counter[tuple[str, ...]] = Counter()
        for name, pool in self._pools():
            # Adding zero keeps the label.
            waiting[name,] += pool.waiting
            running[name,] += sum(runner.in_flight for runner in pool.runners)
            runners.update((name, runner.label) for runner in pool.runners)
        yield _gauge("runners", "Runners by state.", runners, "state")
        yield _gauge("requests_waiting", "Requests that wait for a runner.", waiting)
        yield _gauge("requests_running", "Requests that runners are handling.", running)
        queued: Counter[tuple[str, ...]] = Counter()
        queued.update({(name,): count for name, count in self.queue.waiting().items()})
        yield _gauge("queue_length", "Queued requests that wait for a runner.", queued)

    def _pools(self) -> Iterator[tuple[str, RunnerPool]]:
        for application in self.catalog.applications.values():
            name = f"{application.owner_name}/{application.alias}"
            for pool in application.pools:
                yield "" if application.ephemeral else name, pool
        for pool in self.functions.pools:
            yield "", pool


def _gauge(
    name: str, description: str, counts: Mapping[tuple[str, ...], int], *labels: str
) -> Metric:
    metric = GaugeMetricFamily(
        f"fal_server_{name}", description, labels=("application", *labels)
    )
    for values, count in counts.items():
        metric.add_metric(values, count)
    return metric
