"""A control plane of your own: ``fal-core server``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fal_core.hooks import hookimpl

if TYPE_CHECKING:
    import click

    from fal_core.checks import Check

fal_core_api = 1


@hookimpl
def fal_register_commands(cli: click.Group) -> None:
    """Add the command group ``server``."""
    from fal_server.commands.server_commands import server

    cli.add_command(server)


@hookimpl
def fal_health_checks() -> Iterable[Check]:
    """Check that runners can be kept out of the reach of other local users."""
    from fal_server.checks import health_checks

    return health_checks()
