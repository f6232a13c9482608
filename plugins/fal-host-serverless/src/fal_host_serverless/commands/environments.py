"""
``fal-core environments``: applications and secrets apart from others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fal_host_serverless.commands.options import (
    client_options,
    json_option,
    show,
    tell,
    to_plain,
)

if TYPE_CHECKING:
    from fal_host_serverless.client import SyncServerlessClient


@click.group()
def environments() -> None:
    """
    Look at the environments of the service, create and remove them.
    """


@environments.command("list")
@client_options
@json_option
def list_(client: SyncServerlessClient, as_json: bool) -> None:
    """
    List the environments.
    """
    show(
        client.environments.list(),
        ("NAME", "CREATED", "DESCRIPTION"),
        lambda each: (each.name, each.created_at, each.description),
        as_json=as_json,
        none="There is no environment.",
    )


@environments.command()
@click.argument("name")
@click.option("--description", metavar="TEXT", help="What it is for.")
@client_options
@json_option
def create(
    name: str, description: str | None, client: SyncServerlessClient, as_json: bool
) -> None:
    """
    Create an environment.
    """
    made = client.environments.create(name, description)
    tell(f"Environment {name} is there.", as_json=as_json, **to_plain(made))


@environments.command()
@click.argument("name")
@client_options
@json_option
def delete(name: str, client: SyncServerlessClient, as_json: bool) -> None:
    """
    Remove an environment, and what is in it.
    """
    client.environments.delete(name)
    tell(f"Environment {name} is removed.", as_json=as_json, removed=name)
