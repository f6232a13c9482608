"""
A control plane of your own: ``fal-core server``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.hooks import API_VERSION, hookimpl

if TYPE_CHECKING:
    import click

fal_core_api = API_VERSION


@hookimpl
def fal_register_commands(cli: click.Group) -> None:
    """
    Add the command group ``server``.
    """
    from fal_server.commands.server_commands import server

    cli.add_command(server)
