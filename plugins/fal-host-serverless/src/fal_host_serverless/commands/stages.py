"""``fal-core stages``: stages, which separate applications and secrets."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

import click

from fal_host_serverless.commands.client_options import client_options, json_option
from fal_host_serverless.commands.output import print_values, report, to_plain

if TYPE_CHECKING:
    from fal_host_serverless.client import SyncServerlessClient


@click.group()
def stages() -> None:
    """
    List the stages of the account, create and delete them.

    fal's own command line calls them environments.
    """


@stages.command("list")
@client_options
@json_option
def list_(client: SyncServerlessClient, as_json: bool) -> None:
    """
    List the stages.

    \b
    Example:
      fal-core stages list
    """
    print_values(
        client.environments.list(),
        ("NAME", "CREATED", "DESCRIPTION"),
        lambda each: (each.name, each.created_at, each.description),
        as_json=as_json,
        none="There is no stage.",
    )


@stages.command()
@click.argument("name")
@click.option("--description", metavar="TEXT", help="What it is for.")
@client_options
@json_option
def create(
    name: str, description: str | None, client: SyncServerlessClient, as_json: bool
) -> None:
    """
    Create a stage.

    \b
    Example:
      fal-core stages create dev --description 'Where we try things'
    """
    made = client.environments.create(name, description)
    report(f"Stage {name} is created.", as_json=as_json, **to_plain(made))


@stages.command()
@click.argument("name")
@client_options
@json_option
def delete(name: str, client: SyncServerlessClient, as_json: bool) -> None:
    """
    Delete a stage with its applications and secrets.

    \b
    Example:
      fal-core stages delete dev
    """
    client.environments.delete(name)
    report(f"Stage {name} is deleted.", as_json=as_json, deleted=name)


#: The name that fal's own command line has for them.
environments: click.Group = copy(stages)
environments.hidden = True
