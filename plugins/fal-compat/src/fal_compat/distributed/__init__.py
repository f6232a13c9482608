"""Models that several processes of one machine run together, each with a GPU of its own."""

from __future__ import annotations

from fal_compat.distributed.ranks import DistributedWorker
from fal_compat.distributed.runners import DistributedRunner

__all__ = ["DistributedRunner", "DistributedWorker"]
