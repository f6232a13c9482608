"""The kind ``virtualenv``: virtual environments that uv builds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fal_core.hooks import hookimpl
from fal_env_virtualenv.kinds import Virtualenv

if TYPE_CHECKING:
    import click

    from fal_core.checks import Check
    from fal_core.environments import Environment
    from fal_core.stores import Store

__all__ = ["Virtualenv"]

fal_core_api = 1


@hookimpl
def fal_register_environments() -> Iterable[type[Environment]]:
    """Register the kind ``virtualenv``."""
    return [Virtualenv]


@hookimpl
def fal_register_commands(cli: click.Group) -> None:
    """Add commands to the group ``env``."""
    from fal_env_virtualenv.commands import rebuild, verify

    cli.add_command(verify, "env verify")
    cli.add_command(rebuild, "env rebuild")


@hookimpl
def fal_register_stores() -> Iterable[Store]:
    """Register the environments, and the cache of uv that they are built from."""
    from fal_env_virtualenv.store.environments import STORE
    from fal_uv.running.uv_cache import UvCache

    return [STORE, UvCache()]


@hookimpl
def fal_health_checks() -> Iterable[Check]:
    """Check that uv is installed, and that environments can be kept."""
    from fal_env_virtualenv.checks import health_checks

    return health_checks()
