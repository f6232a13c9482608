"""The kind ``container``: functions in containers of an image."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fal_core.hooks import hookimpl
from fal_env_container.images.container_images import ContainerImage
from fal_env_container.kinds import Container

if TYPE_CHECKING:
    from fal_core.checks import Check
    from fal_core.environments import Environment
    from fal_core.stores import Store

__all__ = ["Container", "ContainerImage"]

fal_core_api = 1


@hookimpl
def fal_register_environments() -> Iterable[type[Environment]]:
    """Register the kind ``container``."""
    return [Container]


@hookimpl
def fal_register_stores() -> Iterable[Store]:
    """
    Register the images and layers that builds leave with the engine, the packages on top of
    images, and the cache of uv, which brings these.
    """
    from fal_env_container.building.image_stores import ImageStore, LayerStore
    from fal_env_container.running.package_stores import STORE
    from fal_uv.running.uv_cache import UvCache

    return [ImageStore(), LayerStore(), STORE, UvCache()]


@hookimpl
def fal_health_checks() -> Iterable[Check]:
    """Check that a container engine answers."""
    from fal_env_container.checks import health_checks

    return health_checks()
