"""``fal-core secrets``: values that functions see as environment variables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fal_core.cli import print_json
from fal_host_serverless.commands.client_options import (
    ask_secret,
    check_stage,
    client_options,
    json_option,
    stage_option,
)
from fal_host_serverless.commands.output import print_values, report

if TYPE_CHECKING:
    from fal_host_serverless.client import SyncServerlessClient

_EXPOSED = {None: "as the account says", True: "yes", False: "no"}


@click.group()
def secrets() -> None:
    """List secrets, set and remove them."""


@secrets.command("list")
@stage_option
@client_options
@json_option
def list_(stage: str | None, client: SyncServerlessClient, as_json: bool) -> None:
    """
    List the secrets, without their values.

    \b
    Example:
      fal-core secrets list --stage dev
    """
    found = client.secrets.list(stage)
    if not found:
        check_stage(client, stage)
    print_values(
        found,
        ("NAME", "CREATED", "STAGE", "EXPOSED BY DEFAULT"),
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
    help="Whether functions that name no secrets see it; by default that stays as it is.",
)
@stage_option
@client_options
@json_option
def set_(
    assignments: tuple[str, ...],
    default_exposed: bool | None,
    stage: str | None,
    client: SyncServerlessClient,
    as_json: bool,
) -> None:
    """
    Set secrets. For a name without a value, the value is asked for, so that the shell's
    history does not have it.

    Without a terminal, these values are read from lines of standard input.

    \b
    Example:
      fal-core secrets set HF_TOKEN
    """
    values = dict(map(_read, assignments))
    names: list[str] = []
    for name, value in values.items():
        client.secrets.set(name, value, stage, default_exposed)
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
@stage_option
@client_options
@json_option
def unset(name: str, stage: str | None, client: SyncServerlessClient, as_json: bool) -> None:
    """
    Remove a secret.

    \b
    Example:
      fal-core secrets unset HF_TOKEN
    """
    client.secrets.unset(name, stage)
    report(f"Secret {name} is removed.", as_json=as_json, unset=name)
