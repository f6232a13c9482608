"""
The kind ``virtualenv``: virtual environments that uv builds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fal_core.hooks import hookimpl
from fal_env_virtualenv.kinds import Virtualenv

if TYPE_CHECKING:
    import click

    from fal_core.checks import Check
    from fal_core.environments import Environment

__all__ = ["Virtualenv"]

fal_core_api = 1


@hookimpl
def fal_register_environments() -> Iterable[type[Environment]]:
    """
    Register the kind ``virtualenv``.
    """
    return [Virtualenv]


@hookimpl
def fal_register_commands(cli: click.Group) -> None:
    """
    Add the group ``env``.
    """
    from fal_env_virtualenv.commands import env

    cli.add_command(env)


@hookimpl
def fal_health_checks() -> Iterable[Check]:
    """
    Check that uv is installed, and that environments can be kept.
    """
    from fal_env_virtualenv.checks import health_checks

    return health_checks()
