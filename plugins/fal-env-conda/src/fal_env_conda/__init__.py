"""The kind ``conda``: conda environments that rattler solves and installs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fal_core.hooks import hookimpl
from fal_env_conda.kinds import Conda

if TYPE_CHECKING:
    from fal_core.checks import Check
    from fal_core.environments import Environment
    from fal_core.stores import Store

__all__ = ["Conda"]

fal_core_api = 1


@hookimpl
def fal_register_environments() -> Iterable[type[Environment]]:
    """Register the kind ``conda``."""
    return [Conda]


@hookimpl
def fal_register_stores() -> Iterable[Store]:
    """Register the prefixes, and the caches of rattler and uv."""
    from fal_env_conda.building.caches import RattlerCache
    from fal_env_conda.building.prefixes import PREFIXES
    from fal_uv.running.uv_cache import UvCache

    return [PREFIXES, RattlerCache(), UvCache()]


@hookimpl
def fal_health_checks() -> Iterable[Check]:
    """Check that rattler works, and that packages can be activated."""
    from fal_env_conda.checks import health_checks

    return health_checks()
