"""``fal-core queue``: the queue of an application."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fal_core.cli import print_json
from fal_host_serverless.commands.client_options import (
    client_options,
    complete_app,
    json_option,
    stage_option,
)
from fal_host_serverless.commands.output import report

if TYPE_CHECKING:
    from fal_host_serverless.client import SyncServerlessClient


@click.group()
def queue() -> None:
    """Count the waiting requests of an application, and remove them."""


@queue.command()
@click.argument("app", shell_complete=complete_app)
@stage_option
@client_options
@json_option
def size(app: str, stage: str | None, client: SyncServerlessClient, as_json: bool) -> None:
    """
    Print how many requests wait.

    \b
    Example:
      fal-core queue size reader
    """
    from fal_host_serverless.queues import queue_size

    waiting = queue_size(client, app, stage)
    if as_json:
        print_json({"app": app, "size": waiting})
    else:
        click.echo(str(waiting))


@queue.command()
@click.argument("app", shell_complete=complete_app)
@stage_option
@client_options
@json_option
def flush(app: str, stage: str | None, client: SyncServerlessClient, as_json: bool) -> None:
    """
    Remove all waiting requests.

    \b
    Example:
      fal-core queue flush reader
    """
    from fal_host_serverless.queues import flush_queue

    flush_queue(client, app, stage)
    report(f"The queue of {app} is empty.", as_json=as_json, app=app, size=0)
