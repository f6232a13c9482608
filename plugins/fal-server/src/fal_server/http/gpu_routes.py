"""The route that counts GPUs, as ``fal apps gpus`` and ``fal runners gpus`` ask for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import attrs
from aiohttp import web

from fal_core.claims import wants_of
from fal_core.options import HostOptions
from fal_server.access.callers import Caller
from fal_server.fleet.runners import Runner
from fal_server.http.api import ApiRoute
from fal_server.routing.catalogs import ApplicationCatalog
from fal_server.routing.function_pools import FunctionPools

#: What GPUs are called that were asked for without a machine type.
_ANY = "GPU"


@attrs.frozen
class GpuRoutes:
    """Answers how many GPUs the runners of an account have, by machine type."""

    catalog: ApplicationCatalog
    functions: FunctionPools

    def routes(self) -> Iterable[ApiRoute]:
        """Return the route."""
        return [
            ApiRoute("GET", "/applications/metrics", "serverless:runners:read", self._count)
        ]

    async def _count(self, _: web.Request, caller: Caller) -> web.Response:
        apps = {
            f"{each.owner_name}/{each.alias}": count_gpus(each.runners)
            for each in self.catalog.list_of(caller.user_id)
        }
        others = [runner for pool in self.functions.pools for runner in pool.runners]
        total = count_gpus(each for each in others if each.spec.owner == caller.user_id)
        for counted in apps.values():
            total.update(counted)
        return web.json_response(
            {
                "apps": {
                    name: {"gpu_count_by_type": counted} for name, counted in apps.items()
                },
                "summary": {"total_gpu_by_type": total},
            }
        )


def count_gpus(runners: Iterable[Runner]) -> Counter[str]:
    """Return how many GPUs *runners* have, by machine type. Those that wait have none."""
    counts: Counter[str] = Counter()
    for runner in runners:
        spec = runner.spec
        if not runner.is_alive or runner.lifecycle.is_waiting:
            continue
        wants = wants_of(
            HostOptions(machine_types=spec.machine_types or None, num_gpus=spec.num_gpus)
        )
        if wants and wants[0].count:
            machine = wants[0].machine
            counts[_ANY if machine is None else machine.name] += wants[0].count
    return counts
