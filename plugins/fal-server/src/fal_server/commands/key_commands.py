"""``fal-core server keys``: the keys of accounts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fal_core.cli import print_json, print_table
from fal_server.commands.account_commands import named_account, refused, write_to
from fal_server.commands.options import (
    data_option,
    database_option,
    json_option,
    opened_state,
    report,
)

if TYPE_CHECKING:
    import sqlalchemy as sa


@click.group()
def keys() -> None:
    """Create, list and revoke keys of an account."""


@keys.command("create")
@click.argument("nickname")
@click.option("--preset", default="FULL", show_default=True, help="The permissions of the key.")
@click.option(
    "--permission",
    "permissions",
    multiple=True,
    help="A single permission, instead of a preset.",
)
@click.option("--alias", default="", help="A note on what the key is for.")
@json_option
@data_option
@database_option
def create_key(
    nickname: str,
    preset: str,
    permissions: tuple[str, ...],
    alias: str,
    as_json: bool,
    data: Path | None,
    database: str | None,
) -> None:
    """
    Create a key, and print it. It cannot be printed again.

    \b
    Example:
      fal-core server keys create bob --preset READONLY
    """
    from fal_server.access.permissions import permissions_of
    from fal_server.store.keys import make_key

    preset = "" if permissions else preset.upper()

    def make(connection: sa.Connection) -> str:
        account = named_account(connection, nickname)
        granted = permissions_of(preset, permissions)
        return make_key(connection, account.id, granted, preset=preset, alias=alias).text

    key = write_to(data, database, make)
    report(key, as_json=as_json, nickname=nickname, key=key)


@keys.command("list")
@click.argument("nickname")
@json_option
@data_option
@database_option
def list_keys(nickname: str, as_json: bool, data: Path | None, database: str | None) -> None:
    """
    List the keys of an account, without their secrets.

    \b
    Example:
      fal-core server keys list bob
    """
    from fal_server.http.bodies import to_text
    from fal_server.store import keys as stored_keys

    with opened_state(data, database) as state:
        found = refused(
            lambda: state.read_here(
                lambda connection: stored_keys.list_keys(
                    connection, named_account(connection, nickname).id
                )
            )
        )
    if as_json:
        print_json(
            [
                {
                    "id": key.id,
                    "alias": key.alias,
                    "preset": key.preset or None,
                    "permissions": sorted(key.permissions),
                    "created_at": to_text(key.created_at),
                }
                for key in found
            ]
        )
    else:
        rows = [
            (key.id, key.preset or "-", key.alias, to_text(key.created_at)) for key in found
        ]
        print_table(("ID", "PRESET", "ALIAS", "CREATED"), rows)


@keys.command("revoke")
@click.argument("nickname")
@click.argument("id")
@json_option
@data_option
@database_option
def revoke_key(
    nickname: str, id: str, as_json: bool, data: Path | None, database: str | None
) -> None:
    """
    Revoke a key of an account. A running server refuses it within seconds.

    \b
    Example:
      fal-core server keys revoke bob 5a1c3f0e
    """
    from fal_server.store import keys as stored_keys

    write_to(
        data,
        database,
        lambda connection: stored_keys.revoke_key(
            connection, named_account(connection, nickname).id, id
        ),
    )
    report(f"Key {id} is revoked.", as_json=as_json, revoked=id)
