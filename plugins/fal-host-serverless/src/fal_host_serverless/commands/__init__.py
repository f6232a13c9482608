"""
The commands of the plugin.
"""

from __future__ import annotations

import click


def register(cli: click.Group) -> None:
    """
    Add the commands to *cli*.
    """
    from fal_host_serverless.commands import (
        apps,
        deploy,
        environments,
        keys,
        profile,
        queue,
        runners,
        secrets,
    )

    for command in (
        *(deploy.deploy, apps.apps, runners.runners, keys.keys, secrets.secrets),
        *(environments.environments, queue.queue, profile.profile),
    ):
        cli.add_command(command)
