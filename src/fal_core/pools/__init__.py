"""
Pools: the workers of a host, and the calls that wait for one.

The author of a host writes how one worker is started, see :class:`WorkerHost`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.exports import lazily

if TYPE_CHECKING:
    from fal_core.pools.pool import Pool as Pool
    from fal_core.pools.relays import relay as relay
    from fal_core.pools.services import ServiceExecution as ServiceExecution
    from fal_core.pools.starts import Start as Start
    from fal_core.pools.worker_hosts import POOL_OPTIONS as POOL_OPTIONS
    from fal_core.pools.worker_hosts import WorkerHost as WorkerHost
    from fal_core.pools.worker_pools import Shared as Shared
    from fal_core.pools.worker_pools import WorkerPools as WorkerPools
    from fal_core.pools.worker_pools import shared_by as shared_by
else:
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__, __all__ = lazily(
        __name__,
        {
            "fal_core.pools.pool": "Pool",
            "fal_core.pools.relays": "relay",
            "fal_core.pools.services": "ServiceExecution",
            "fal_core.pools.starts": "Start",
            "fal_core.pools.worker_hosts": "POOL_OPTIONS WorkerHost",
            "fal_core.pools.worker_pools": "Shared WorkerPools shared_by",
        },
    )
