"""The hooks by which fal-core finds the host and its commands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from fal_core.hooks import hookimpl

if TYPE_CHECKING:
    import click

    from fal_core.hosts import Host

fal_core_api = 1


@hookimpl
def fal_register_hosts() -> Iterable[type[Host[..., Any]]]:
    """Register the host ``serverless``."""
    from fal_host_serverless.hosts import FalServerlessHost

    return [FalServerlessHost]


@hookimpl
def fal_register_commands(cli: click.Group) -> None:
    """Add the commands of fal's own command line."""
    from fal_host_serverless.commands import (
        apps,
        call,
        deploy,
        keys,
        logs,
        profile,
        queue,
        runners,
        secrets,
        stages,
    )

    for command in (
        *(deploy.deploy, call.call, apps.apps, runners.runners, keys.keys, secrets.secrets),
        *(stages.stages, queue.queue, profile.profile, logs.logs),
    ):
        cli.add_command(command)
    cli.add_command(stages.environments, "environments")
