"""
``fal-core server users | teams | login``: the accounts of a control plane.

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
    opened_keys,
    opened_state,
    report,
)

if TYPE_CHECKING:
    import sqlalchemy as sa

    from fal_server.store.accounts import Account
    from fal_server.store.keys import NewKey

T = TypeVar("T")


@click.group()
def users() -> None:
    """Create and list users."""


@users.command("create")
@click.argument("nickname")
@click.option("--name", "full_name", default="", help="The full name.")
@json_option
@data_option
@database_option
def create_user(
    nickname: str, full_name: str, as_json: bool, data: Path | None, database: str | None
) -> None:
    """
    Create a user, and print a key for them.

    \b
    Example:
      fal-core server users create bob --name 'Bob B.'
    """
    from fal_server.access.permissions import PRESETS
    from fal_server.store.accounts import make_account
    from fal_server.store.keys import make_key

    def make(connection: sa.Connection) -> str:
        account = make_account(connection, "user", nickname, full_name)
        return make_key(connection, account.id, PRESETS["FULL"], preset="FULL").text

    key = write_to(data, database, make)
    report(key, as_json=as_json, nickname=nickname, key=key)


@users.command("list")
@json_option
@data_option
@database_option
def list_users(as_json: bool, data: Path | None, database: str | None) -> None:
    """
    List users and teams.

    \b
    Example:
      fal-core server users list
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
    """Create teams, and add members to them."""


@teams.command("create")
@click.argument("nickname")
@click.option("--name", "full_name", default="", help="The full name.")
@click.option("--member", "members", multiple=True, help="The nickname of a user.")
@json_option
@data_option
@database_option
def create_team(
    nickname: str,
    full_name: str,
    members: tuple[str, ...],
    as_json: bool,
    data: Path | None,
    database: str | None,
) -> None:
    """
    Create a team, and print a key for it.

    \b
    Example:
      fal-core server teams create crew --member bob
    """
    from fal_server.access.permissions import PRESETS
    from fal_server.store.accounts import add_member, make_account
    from fal_server.store.keys import make_key

    def make(connection: sa.Connection) -> str:
        account = make_account(connection, "team", nickname, full_name)
        for member in members:
            add_member(connection, nickname, member)
        return make_key(connection, account.id, PRESETS["FULL"], preset="FULL").text

    key = write_to(data, database, make)
    report(key, as_json=as_json, nickname=nickname, members=members, key=key)


@teams.command()
@click.argument("team")
@click.argument("user")
@json_option
@data_option
@database_option
def join(team: str, user: str, as_json: bool, data: Path | None, database: str | None) -> None:
    """
    Make a user a member of a team.

    \b
    Example:
      fal-core server teams join crew bob
    """
    from fal_server.store.accounts import add_member

    write_to(data, database, lambda connection: add_member(connection, team, user))
    report(f"{user} is a member of {team}.", as_json=as_json, team=team, user=user)


@click.command(short_help="Issue a login token for a user.")
@click.argument("nickname")
@click.option("--days", type=click.IntRange(1, 365), default=30, show_default=True)
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write it to this directory, for the fal command line (FAL_HOME_DIR).",
)
@json_option
@data_option
@database_option
def login(
    nickname: str,
    days: int,
    home: Path | None,
    as_json: bool,
    data: Path | None,
    database: str | None,
) -> None:
    """
    Issue a login token for a user, who may act for their teams with it.

    It is listed among their keys, and ends when it is revoked there.

    \b
    Example:
      fal-core server login bob --days 7
    """
    from fal_server.access.identities import LOGIN, LOGOUT
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

    with opened_keys(data, database) as keys:
        tokens = Tokens(keys.read("signing.key"))
        account, key = refused(lambda: keys.database.write_here(make))
    token, ending = (
        tokens.make(purpose, account.id, key=key.id, seconds=seconds)
        for purpose in (LOGIN, LOGOUT)
    )
    if home is None:
        report(token, as_json=as_json, token=token, ends=ends.isoformat())
    else:
        # With the first line the command line of fal ends the login.
        DataDirectory(home).write_private(home / "auth0_token", f"{ending}\n{token}".encode())
        written = f"The login is in {home}."
        report(written, as_json=as_json, home=str(home), ends=ends.isoformat())


def named_account(connection: sa.Connection, nickname: str) -> Account:
    """
    Return the account of a *nickname*.

    Raises:
        NotFound: There is none.
    """
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


def write_to(data: Path | None, database: str | None, work: Callable[[sa.Connection], T]) -> T:
    """Return what *work* returns, which changes the database of a server."""
    with opened_state(data, database) as state:
        return refused(lambda: state.write_here(work))


def refused(attempt: Callable[[], T]) -> T:
    """Turn a refusal into an error of the command line."""
    from fal_server.errors import Invalid, Refusal

    try:
        return attempt()
    except Invalid as refusal:
        # An argument of the command line is not valid.
        raise click.UsageError(str(refusal)) from refusal
    except Refusal as refusal:
        raise click.ClickException(str(refusal)) from refusal
