"""``fal-core keys``: keys of the account."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fal_core.cli import print_json
from fal_host_serverless.commands.client_options import client_options, json_option
from fal_host_serverless.commands.output import print_values, report

if TYPE_CHECKING:
    from fal_host_serverless.client import SyncServerlessClient


@click.group()
def keys() -> None:
    """List the keys of your account, create and revoke them."""


@keys.command()
@click.option(
    "--scope",
    type=click.Choice(["admin", "api"], case_sensitive=False),
    help="Whether it may do everything, or only call applications.",
)
@click.option(
    "--preset",
    metavar="NAME",
    help="A set of permissions that the service names, as in deploy or readonly.",
)
@click.option(
    "--permission",
    "permissions",
    metavar="NAME",
    multiple=True,
    help="A permission, as in serverless:apps:run; may be repeated.",
)
@click.option("--description", metavar="TEXT", help="What it is for.")
@client_options
@json_option
def create(
    scope: str | None,
    preset: str | None,
    permissions: tuple[str, ...],
    description: str | None,
    client: SyncServerlessClient,
    as_json: bool,
) -> None:
    """
    Create a key. Its secret is shown only once.

    Exactly one of --scope, --preset and --permission says what it may do.

    \b
    Example:
      fal-core keys create --scope api --description ci
    """
    if sum(map(bool, (scope, preset, permissions))) != 1:
        raise click.UsageError("Give exactly one of --scope, --preset and --permission.")
    listed = [name.strip() for each in permissions for name in each.split(",")]
    key_id, secret = client.keys.create(
        scope=scope, preset=preset, permissions=listed or None, description=description
    )
    if as_json:
        print_json({"key_id": key_id, "key_secret": secret})
    else:
        click.echo(f"FAL_KEY={key_id}:{secret}")


@keys.command("list")
@client_options
@json_option
def list_(client: SyncServerlessClient, as_json: bool) -> None:
    """
    List the keys, without their secrets.

    \b
    Example:
      fal-core keys list
    """
    print_values(
        client.keys.list(),
        ("KEY", "SCOPE", "CREATED", "DESCRIPTION"),
        lambda key: (key.key_id, key.scope and key.scope.value, key.created_at, key.alias),
        as_json=as_json,
        none="There is no key.",
    )


@keys.command()
@click.argument("key_id")
@client_options
@json_option
def revoke(key_id: str, client: SyncServerlessClient, as_json: bool) -> None:
    """
    Revoke a key.

    \b
    Example:
      fal-core keys revoke 5a1c3f0e
    """
    client.keys.revoke(key_id)
    report(f"Key {key_id} is revoked.", as_json=as_json, revoked=key_id)
