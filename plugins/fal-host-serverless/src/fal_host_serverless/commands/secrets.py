"""
``fal-core secrets``: values that functions see as variables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fal_core.cli.outputs import print_json
from fal_host_serverless.commands.options import (
    ask_secret,
    client_options,
    environment_option,
    json_option,
    show,
    tell,
)

if TYPE_CHECKING:
    from fal_host_serverless.client import SyncServerlessClient

_EXPOSED = {None: "as the account says", True: "yes", False: "no"}


@click.group()
def secrets() -> None:
    """
    Look at the secrets of the service, set and remove them.
    """


@secrets.command("list")
@environment_option
@client_options
@json_option
def list_(environment_name: str | None, client: SyncServerlessClient, as_json: bool) -> None:
    """
    List the secrets, without their values.
    """
    show(
        client.secrets.list(environment_name),
        ("NAME", "CREATED", "ENVIRONMENT", "EXPOSED BY DEFAULT"),
        lambda secret: (
            *(secret.name, secret.created_at, secret.environment_name),
            _EXPOSED[secret.default_exposed],
        ),
        as_json=as_json,
        none="There is no secret.",
    )


@secrets.command("set")
@click.argument("assignments", nargs=-1, required=True, metavar="NAME=VALUE...")
@click.option(
    "--exposed-by-default/--not-exposed-by-default",
    "default_exposed",
    default=None,
    help="Whether functions that name no secrets see it; otherwise it stays as it is.",
)
@environment_option
@client_options
@json_option
def set_(
    assignments: tuple[str, ...],
    default_exposed: bool | None,
    environment_name: str | None,
    client: SyncServerlessClient,
    as_json: bool,
) -> None:
    """
    Set secrets. A name without a value asks for it, and keeps it out of the history.

    Where there is no terminal, the values that are not written are lines of the standard
    input.
    """
    values = dict(map(_read, assignments))
    names: list[str] = []
    for name, value in values.items():
        client.secrets.set(name, value, environment_name, default_exposed)
        names.append(name)
        if not as_json:
            click.echo(f"Secret {name} is set.")
    if as_json:
        print_json({"set": names})


def _read(assignment: str) -> tuple[str, str]:
    name, separator, value = assignment.partition("=")
    if not name:
        raise click.UsageError(f"{assignment!r} names no secret. Write it as in NAME=VALUE.")
    if not separator:
        value = ask_secret(f"Value of {name}", instead=f", or give it as in {name}=VALUE")
    return name, value


@secrets.command()
@click.argument("name")
@environment_option
@client_options
@json_option
def unset(
    name: str, environment_name: str | None, client: SyncServerlessClient, as_json: bool
) -> None:
    """
    Remove a secret.
    """
    client.secrets.unset(name, environment_name)
    tell(f"Secret {name} is removed.", as_json=as_json, removed=name)
