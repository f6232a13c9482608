"""Host ``ray``: functions on a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from fal_core.exports import lazily
from fal_core.hooks import hookimpl

if TYPE_CHECKING:
    from fal_core.hosts import Host
    from fal_host_ray.hosts import RayHost
    from fal_host_ray.options import RayOptions

__all__ = ["RayHost", "RayOptions"]

fal_core_api = 1


@hookimpl
def fal_register_hosts() -> Iterable[type[Host[..., Any]]]:
    """Register the host ``ray``."""
    from fal_host_ray.hosts import RayHost

    return [RayHost]


__getattr__, __dir__ = lazily(
    __name__,
    {"RayHost": "fal_host_ray.hosts", "RayOptions": "fal_host_ray.options"},
)
