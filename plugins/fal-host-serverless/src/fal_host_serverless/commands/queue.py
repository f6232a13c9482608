"""
``fal-core queue``: requests that wait for an application.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fal_core.cli.outputs import print_json
from fal_host_serverless.commands.options import (
    client_options,
    environment_option,
    json_option,
    tell,
)

if TYPE_CHECKING:
    from fal_host_serverless.client import SyncServerlessClient


@click.group()
def queue() -> None:
    """
    Look at the queue of an application, and empty it.
    """


@queue.command()
@click.argument("app")
@environment_option
@client_options
@json_option
def size(
    app: str, environment_name: str | None, client: SyncServerlessClient, as_json: bool
) -> None:
    """
    Tell how many requests wait.
    """
    from fal_host_serverless.queues import queue_size

    waiting = queue_size(client, app, environment_name)
    if as_json:
        print_json({"app": app, "size": waiting})
    else:
        click.echo(str(waiting))


@queue.command()
@click.argument("app")
@environment_option
@client_options
@json_option
def flush(
    app: str, environment_name: str | None, client: SyncServerlessClient, as_json: bool
) -> None:
    """
    Take the requests that wait out of the queue.
    """
    from fal_host_serverless.queues import flush_queue

    flush_queue(client, app, environment_name)
    tell(f"The queue of {app} is empty.", as_json=as_json, app=app, size=0)
