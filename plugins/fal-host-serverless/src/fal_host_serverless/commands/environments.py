"""
``fal-core environments``: stages, which separate applications and secrets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fal_host_serverless.commands.client_options import client_options, json_option
from fal_host_serverless.commands.output import print_values, report, to_plain

if TYPE_CHECKING:
    from fal_host_serverless.client import SyncServerlessClient


@click.group()
def environments() -> None:
    """
    List the stages of the account, create and delete them.
    """


@environments.command("list")
@client_options
@json_option
def list_(client: SyncServerlessClient, as_json: bool) -> None:
    """
    List the stages.
    """
    print_values(
        client.environments.list(),
        ("NAME", "CREATED", "DESCRIPTION"),
        lambda each: (each.name, each.created_at, each.description),
        as_json=as_json,
        none="There is no stage.",
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
    Create a stage.
    """
    made = client.environments.create(name, description)
    report(f"Stage {name} is there.", as_json=as_json, **to_plain(made))


@environments.command()
@click.argument("name")
@client_options
@json_option
def delete(name: str, client: SyncServerlessClient, as_json: bool) -> None:
    """
    Delete a stage with its applications and secrets.
    """
    client.environments.delete(name)
    report(f"Stage {name} is removed.", as_json=as_json, removed=name)
