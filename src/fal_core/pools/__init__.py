"""
Pools: the workers of a host, and the calls that wait for one.

The author of a host writes how one worker is started, see :class:`WorkerHost`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.exports import lazily

if TYPE_CHECKING:
    from fal_core.pools.pool import Pool
    from fal_core.pools.relays import relay
    from fal_core.pools.services import ServiceExecution
    from fal_core.pools.starts import Start
    from fal_core.pools.worker_hosts import POOL_OPTIONS, WorkerHost
    from fal_core.pools.worker_pools import Shared, WorkerPools, shared_by

__all__ = [
    "POOL_OPTIONS",
    "Pool",
    "ServiceExecution",
    "Shared",
    "Start",
    "WorkerHost",
    "WorkerPools",
    "relay",
    "shared_by",
]

_exports = lazily(
    __name__,
    {
        "POOL_OPTIONS": "fal_core.pools.worker_hosts",
        "Pool": "fal_core.pools.pool",
        "ServiceExecution": "fal_core.pools.services",
        "Shared": "fal_core.pools.worker_pools",
        "Start": "fal_core.pools.starts",
        "WorkerHost": "fal_core.pools.worker_hosts",
        "WorkerPools": "fal_core.pools.worker_pools",
        "relay": "fal_core.pools.relays",
        "shared_by": "fal_core.pools.worker_pools",
    },
)

if not TYPE_CHECKING:
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__ = _exports
