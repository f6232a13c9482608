"""
Fleet metrics: the runners and the requests that there are when the metrics are read.
"""

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
    Tells of the runners of a control plane. It is read in the plane's event loop, where
    nothing changes meanwhile.

    Applications are told by owner and alias. Those of runs, and functions, have no name:
    theirs would never come again.
    """

    catalog: ApplicationCatalog
    queue: RequestQueue
    functions: FunctionPools

    def collect(self) -> Iterator[Metric]:
        """
        Yield what there is at present.
        """
        runners: Counter[tuple[str, ...]] = Counter()
        waiting: Counter[tuple[str, ...]] = Counter()
        running: Counter[tuple[str, ...]] = Counter()
        for name, pool in self._pools():
            # A counter keeps the names that it was given nothing for.
            waiting[name,] += pool.waiting
            running[name,] += sum(runner.in_flight for runner in pool.runners)
            runners.update((name, runner.label) for runner in pool.runners)
        yield _gauge("runners", "Runners, by how far they are.", runners, "state")
        yield _gauge("requests_waiting", "Requests that wait for a runner.", waiting)
        yield _gauge("requests_running", "Requests that runners have.", running)
        queued: Counter[tuple[str, ...]] = Counter()
        queued.update((name,) for name in self.queue.waiting_for())
        yield _gauge("queue_length", "Requests of the queue that no runner has.", queued)

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
