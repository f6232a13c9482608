"""
``fal-core server users | teams | keys | login``: the accounts of a control plane.

The commands work on the data directory, whether a server runs on it or not.
"""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from fal_core.cli import print_json, print_table
from fal_server.commands.options import (
    data_option,
    database_option,
    json_option,
    opened_state,
    settings_of,
)

if TYPE_CHECKING:
    import sqlalchemy as sa

    from fal_server.store.accounts import Account
    from fal_server.store.keys import NewKey

T = TypeVar("T")


@click.group()
def users() -> None:
    """
    Add and list users.
    """


@users.command("add")
@click.argument("nickname")
@click.option("--name", "full_name", default="", help="The full name.")
@data_option
@database_option
def add_user(nickname: str, full_name: str, data: Path | None, database: str | None) -> None:
    """
    Add a user, and print a key for them.
    """
    from fal_server.access.permissions import PRESETS
    from fal_server.store.accounts import make_account
    from fal_server.store.keys import make_key

    def make(connection: sa.Connection) -> str:
        account = make_account(connection, "user", nickname, full_name)
        return make_key(connection, account.id, PRESETS["FULL"], preset="FULL").text

    click.echo(_write(data, database, make))


@users.command("list")
@json_option
@data_option
@database_option
def list_users(as_json: bool, data: Path | None, database: str | None) -> None:
    """
    List users and teams.
    """
    from fal_server.store.accounts import list_accounts

    with opened_state(data, database) as state:
        found = state.read_here(list_accounts)
    if as_json:
        print_json([_describe(account) for account in found])
    else:
        rows = [(each.nickname, each.kind, each.full_name, each.id) for each in found]
        print_table(("NICKNAME", "KIND", "NAME", "ID"), rows)


@click.group()
def teams() -> None:
    """
    Add teams, and members to them.
    """


@teams.command("add")
@click.argument("nickname")
@click.option("--name", "full_name", default="", help="The full name.")
@click.option("--member", "members", multiple=True, help="The nickname of a user.")
@data_option
@database_option
def add_team(
    nickname: str,
    full_name: str,
    members: tuple[str, ...],
    data: Path | None,
    database: str | None,
) -> None:
    """
    Add a team, and print a key for it.
    """
    from fal_server.access.permissions import PRESETS
    from fal_server.store.accounts import add_member, make_account
    from fal_server.store.keys import make_key

    def make(connection: sa.Connection) -> str:
        account = make_account(connection, "team", nickname, full_name)
        for member in members:
            add_member(connection, nickname, member)
        return make_key(connection, account.id, PRESETS["FULL"], preset="FULL").text

    click.echo(_write(data, database, make))


@teams.command()
@click.argument("team")
@click.argument("user")
@data_option
@database_option
def join(team: str, user: str, data: Path | None, database: str | None) -> None:
    """
    Make a user a member of a team.
    """
    from fal_server.store.accounts import add_member

    _write(data, database, lambda connection: add_member(connection, team, user))


@click.command()
@click.argument("nickname")
@click.option("--days", type=click.IntRange(1, 365), default=30, show_default=True)
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write it to this directory, for the fal command line (FAL_HOME_DIR).",
)
@data_option
@database_option
def login(
    nickname: str, days: int, home: Path | None, data: Path | None, database: str | None
) -> None:
    """
    Issue a login token for a user, who may act for their teams with it.

    It is listed among their keys, and ends when it is revoked there.
    """
    from fal_server.access.identities import LOGIN
    from fal_server.access.key_files import read_key
    from fal_server.access.permissions import PRESETS
    from fal_server.access.tokens import Tokens
    from fal_server.errors import NotFound
    from fal_server.state.data_directories import DataDirectory
    from fal_server.store.accounts import find_account
    from fal_server.store.keys import make_key

    if home is not None and home.exists() and home.stat().st_uid != os.geteuid():
        raise click.ClickException(
            f"{home} belongs to another user, who could replace the login. Choose a directory "
            "of yours by '--home'."
        )
    directory = DataDirectory(settings_of(data, database).data)
    seconds = days * 24 * 3600.0
    ends = datetime.datetime.fromtimestamp(time.time() + seconds, datetime.timezone.utc)

    def make(connection: sa.Connection) -> tuple[Account, NewKey]:
        account = find_account(connection, nickname=nickname)
        if account is None or account.kind != "user":
            raise NotFound(f"There is no user {nickname!r}.")
        alias = f"login until {ends:%Y-%m-%d}"
        return account, make_key(
            connection, account.id, PRESETS["FULL"], preset="FULL", alias=alias
        )

    account, key = _write(data, database, make)
    tokens = Tokens(read_key(directory, "signing.key"))
    token = tokens.make(LOGIN, account.id, key=key.id, seconds=seconds)
    if home is None:
        click.echo(token)
    else:
        # The first line is the token of another service, which the command line never uses.
        DataDirectory(home).write_private(home / "auth0_token", f"none\n{token}".encode())


@click.group()
def keys() -> None:
    """
    Create, list and revoke keys of an account.
    """


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
@data_option
@database_option
def create_key(
    nickname: str,
    preset: str,
    permissions: tuple[str, ...],
    alias: str,
    data: Path | None,
    database: str | None,
) -> None:
    """
    Create a key, and print it. It cannot be printed again.
    """
    from fal_server.access.permissions import permissions_of
    from fal_server.store.keys import make_key

    preset = "" if permissions else preset.upper()

    def make(connection: sa.Connection) -> str:
        account = _account(connection, nickname)
        granted = permissions_of(preset, permissions)
        return make_key(connection, account.id, granted, preset=preset, alias=alias).text

    click.echo(_write(data, database, make))


@keys.command("list")
@click.argument("nickname")
@json_option
@data_option
@database_option
def list_keys(nickname: str, as_json: bool, data: Path | None, database: str | None) -> None:
    """
    List the keys of an account, without their secrets.
    """
    from fal_server.http.bodies import to_text
    from fal_server.store import keys as stored_keys

    with opened_state(data, database) as state:
        found = _refused(
            lambda: state.read_here(
                lambda connection: stored_keys.list_keys(
                    connection, _account(connection, nickname).id
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
@data_option
@database_option
def revoke_key(nickname: str, id: str, data: Path | None, database: str | None) -> None:
    """
    Revoke a key of an account. A running server refuses it within seconds.
    """
    from fal_server.store import keys as stored_keys

    _write(
        data,
        database,
        lambda connection: stored_keys.revoke_key(
            connection, _account(connection, nickname).id, id
        ),
    )


@click.command("webhook-secret")
@click.argument("nickname")
@data_option
@database_option
def webhook_secret(nickname: str, data: Path | None, database: str | None) -> None:
    """
    Print the secret that signs the webhooks of an account's applications.
    """
    from fal_server.access.key_files import read_key
    from fal_server.queue.webhooks import KEY, secret_of
    from fal_server.state.data_directories import DataDirectory

    with opened_state(data, database) as state:
        account = _refused(
            lambda: state.read_here(lambda connection: _account(connection, nickname))
        )
    key = read_key(DataDirectory(settings_of(data, database).data), KEY)
    click.echo(secret_of(key, account.id))


def _account(connection: sa.Connection, nickname: str) -> Account:
    from fal_server.errors import NotFound
    from fal_server.store.accounts import find_account

    account = find_account(connection, nickname=nickname)
    if account is None:
        raise NotFound(f"There is no account {nickname!r}.")
    return account


def _describe(account: Account) -> dict[str, object]:
    return {
        "id": account.id,
        "nickname": account.nickname,
        "kind": account.kind,
        "name": account.full_name,
    }


def _write(data: Path | None, database: str | None, work: Callable[[sa.Connection], T]) -> T:
    with opened_state(data, database) as state:
        return _refused(lambda: state.write_here(work))


def _refused(attempt: Callable[[], T]) -> T:
    """
    Turn a refusal into an error of the command line.
    """
    from fal_server.errors import Invalid, Refusal

    try:
        return attempt()
    except Invalid as refusal:
        # An argument of the command line is not valid.
        raise click.UsageError(str(refusal)) from refusal
    except Refusal as refusal:
        raise click.ClickException(str(refusal)) from refusal
