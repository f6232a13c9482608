"""Accounts: users, and teams of them."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Sequence
from typing import Any, Literal

import attrs
import sqlalchemy as sa

from fal_server.errors import AlreadyExists, Invalid, NotFound
from fal_server.state.databases import metadata
from fal_server.state.upserts import add_new

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("nickname", sa.String, nullable=False, unique=True),
    sa.Column("full_name", sa.String, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
)

members = sa.Table(
    "members",
    metadata,
    sa.Column("team_id", sa.ForeignKey("accounts.id"), primary_key=True),
    sa.Column("user_id", sa.ForeignKey("accounts.id"), primary_key=True),
)

#: Nicknames are parts of URLs.
_NICKNAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")

#: Words that URLs have in the place of a nickname.
_RESERVED = frozenset({"workflows", "comfy", "internal", "health", "storage", "files"})


@attrs.frozen(kw_only=True)
class Account:
    """
    A user or a team.

    Attributes:
        id: The id in the protocol, as in ``user|…`` or ``team|…``.

        nickname: Its name in the URLs of its applications.
    """

    id: str
    kind: Literal["user", "team"]
    nickname: str
    full_name: str
    created_at: float


def make_account(
    connection: sa.Connection, kind: Literal["user", "team"], nickname: str, full_name: str = ""
) -> Account:
    """
    Create a user or a team.

    Raises:
        Invalid: *nickname* cannot be part of a URL.

        AlreadyExists: It is taken.
    """
    if not _NICKNAME.fullmatch(nickname) or nickname in _RESERVED:
        raise Invalid(
            f"{nickname[:80]!r} is not a valid nickname. A nickname has at most 63 lower-case "
            "letters, digits and dashes, and begins and ends with a letter or digit."
        )
    account = Account(
        id=f"{kind}|{secrets.token_hex(8)}",
        kind=kind,
        nickname=nickname,
        full_name=full_name or nickname,
        created_at=time.time(),
    )
    if not add_new(connection, accounts, attrs.asdict(account)):
        raise AlreadyExists(f"There is an account {nickname!r} already.")
    return account


def find_account(
    connection: sa.Connection, *, id: str | None = None, nickname: str | None = None
) -> Account | None:
    """Return the account with this *id* or *nickname*. None where there is none."""
    chosen = accounts.c.id == id if id is not None else accounts.c.nickname == nickname
    row = connection.execute(sa.select(accounts).where(chosen)).one_or_none()
    return None if row is None else _from_row(row)


def nickname_of(connection: sa.Connection, id: str) -> str:
    """Return the nickname of an account by its id. Empty where there is none."""
    found = find_account(connection, id=id)
    return "" if found is None else found.nickname


def list_accounts(connection: sa.Connection) -> Sequence[Account]:
    """Return all accounts, the oldest first."""
    rows = connection.execute(sa.select(accounts).order_by(accounts.c.created_at))
    return [_from_row(row) for row in rows]


def find_owner(connection: sa.Connection) -> Account:
    """Return the account that the server was started with, which is the oldest."""
    return list_accounts(connection)[0]


def add_member(connection: sa.Connection, team: str, user: str) -> None:
    """
    Make a user a member of a team; both are given by their nicknames.

    Raises:
        NotFound: There is no such team or user.

        AlreadyExists: The user is a member already.
    """
    found = [find_account(connection, nickname=each) for each in (team, user)]
    for nickname, kind, account in zip((team, user), ("team", "user"), found, strict=True):
        if account is None or account.kind != kind:
            raise NotFound(f"There is no {kind} {nickname[:80]!r}.")
    team_id, user_id = (account.id for account in found if account is not None)
    if not add_new(connection, members, {"team_id": team_id, "user_id": user_id}):
        raise AlreadyExists(f"{user!r} is a member of {team!r} already.")


def is_member(connection: sa.Connection, team_id: str, user_id: str) -> bool:
    """Return whether the user is a member of the team."""
    chosen = (members.c.team_id == team_id) & (members.c.user_id == user_id)
    return connection.execute(sa.select(members).where(chosen)).first() is not None


def teams_of(connection: sa.Connection, user_id: str) -> Sequence[Account]:
    """Return the teams that the user is a member of."""
    joined = accounts.join(members, members.c.team_id == accounts.c.id)
    chosen = sa.select(accounts).select_from(joined).where(members.c.user_id == user_id)
    rows = connection.execute(chosen.order_by(accounts.c.nickname))
    return [_from_row(row) for row in rows]


def members_of(connection: sa.Connection, team_id: str) -> Sequence[Account]:
    """Return the users that are members of the team."""
    joined = accounts.join(members, members.c.user_id == accounts.c.id)
    chosen = sa.select(accounts).select_from(joined).where(members.c.team_id == team_id)
    rows = connection.execute(chosen.order_by(accounts.c.nickname))
    return [_from_row(row) for row in rows]


def _from_row(row: sa.Row[Any]) -> Account:
    return Account(**row._mapping)
