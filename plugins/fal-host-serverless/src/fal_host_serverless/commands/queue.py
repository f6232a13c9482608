"""
``fal-core queue``: requests that wait for an application.
"""

from __future__ import annotations

import click

from fal_core.cli.outputs import print_json
from fal_host_serverless.commands.options import client_options, json_option, make_client


@click.group()
def queue() -> None:
    """
    Look at the queue of an application, and empty it.
    """


@queue.command()
@click.argument("app")
@client_options
@json_option
def size(app: str, host: str | None, profile: str | None, as_json: bool) -> None:
    """
    Tell how many requests wait.
    """
    from fal_host_serverless.queues import queue_size

    waiting = queue_size(make_client(host, profile), app)
    if as_json:
        print_json({"app": app, "size": waiting})
    else:
        click.echo(str(waiting))


@queue.command()
@click.argument("app")
@client_options
def flush(app: str, host: str | None, profile: str | None) -> None:
    """
    Take the requests that wait out of the queue.
    """
    from fal_host_serverless.queues import flush_queue

    flush_queue(make_client(host, profile), app)
    click.echo(f"The queue of {app} is empty.")
