"""Host ``ray``: functions on a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from fal_core.exports import lazily
from fal_core.hooks import hookimpl

if TYPE_CHECKING:
    from fal_core.hosts import Host
    from fal_host_ray.hosts import RayHost as RayHost
    from fal_host_ray.options import RayOptions as RayOptions
else:
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__, __all__ = lazily(
        __name__, {"fal_host_ray.hosts": "RayHost", "fal_host_ray.options": "RayOptions"}
    )

fal_core_api = 1


@hookimpl
def fal_register_hosts() -> Iterable[type[Host[..., Any]]]:
    """Register the host ``ray``."""
    from fal_host_ray.hosts import RayHost

    return [RayHost]
