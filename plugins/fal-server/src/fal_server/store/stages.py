"""
Stages: the stages that an account deploys to, as ``main`` and ``staging``.

They have nothing to do with where Python packages are.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import sqlalchemy as sa

from fal_server.errors import AlreadyExists, Invalid, NotFound, NotNow
from fal_server.state.databases import Database, metadata
from fal_server.store.accounts import find_account

#: The environment that every account has.
DEFAULT = "main"

environments = sa.Table(
    "environments",
    metadata,
    sa.Column("account_id", sa.ForeignKey("accounts.id"), primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("description", sa.String),
    sa.Column("created_at", sa.Float, nullable=False),
)

#: Two dashes part the name of an application from that of its environment.
_NAME = re.compile(r"(?!.*--)[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")

_LONGEST_DESCRIPTION = 500

#: Called with an account and the name of an environment of it that goes.
Removal = Callable[[sa.Connection, str, str], None]


@attrs.frozen(kw_only=True)
class Stage:
    """
    An environment of an account.
    """

    name: str
    description: str | None
    created_at: float

    @property
    def is_default(self) -> bool:
        """
        Whether it is the one that every account has.
        """
        return self.name == DEFAULT


class Stages:
    """
    Keeps the environments of all accounts.

    Attributes:
        removals: Called within the transaction that removes an environment; they
            remove what is in it.

        removed: Called once one has been removed.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.removals: list[Removal] = []
        self.removed: list[Callable[[], object]] = []

    async def list(self, account_id: str) -> Sequence[Stage]:
        """
        Return the environments of an account, the default one first.
        """

        def read(connection: sa.Connection) -> Sequence[Stage]:
            account = find_account(connection, id=account_id)
            first = Stage(
                name=DEFAULT,
                description=None,
                created_at=account.created_at if account else 0.0,
            )
            chosen = sa.select(environments).where(environments.c.account_id == account_id)
            rows = connection.execute(chosen.order_by(environments.c.created_at))
            return [first, *map(_from_row, rows)]

        return await self._database.read(read)

    async def create(self, account_id: str, name: str, description: str | None = None) -> Stage:
        """
        Make an environment.

        Raises:
            Invalid: It cannot have this name, or the description is too long.

            AlreadyExists: There is one.
        """
        if not _NAME.fullmatch(name):
            raise Invalid(
                f"{name[:80]!r} is no name of an environment: lower-case letters, digits, "
                "underscores and single dashes are, at most 63."
            )
        if description is not None and len(description) > _LONGEST_DESCRIPTION:
            raise Invalid(f"A description has at most {_LONGEST_DESCRIPTION} characters.")
        new = Stage(name=name, description=description, created_at=time.time())

        def write(connection: sa.Connection) -> Stage:
            if exists(connection, account_id, name):
                raise AlreadyExists(f"There is an environment {name!r} already.")
            values = {"account_id": account_id, **attrs.asdict(new)}
            connection.execute(environments.insert().values(values))
            return new

        return await self._database.write(write)

    async def delete(self, account_id: str, name: str) -> None:
        """
        Remove an environment with all that is in it.

        Raises:
            NotFound: There is none of this name.

            NotNow: It is the default one.
        """
        if name == DEFAULT:
            raise NotNow(f"The environment {DEFAULT!r} cannot be removed.")

        def write(connection: sa.Connection) -> None:
            require(connection, account_id, name)
            for removal in self.removals:
                removal(connection, account_id, name)
            connection.execute(environments.delete().where(_is(account_id, name)))

        try:
            await self._database.write(write)
        finally:
            for each in self.removed:
                each()


def exists(connection: sa.Connection, account_id: str, name: str) -> bool:
    """
    Tell whether an account has an environment.
    """
    if name == DEFAULT:
        return True
    found = connection.execute(sa.select(environments).where(_is(account_id, name)))
    return found.first() is not None


def require(connection: sa.Connection, account_id: str, name: str) -> None:
    """
    See that an account has an environment.

    Raises:
        NotFound: It has not.
    """
    if not exists(connection, account_id, name):
        raise NotFound(f"Environment {name[:80]!r} was not found.")


def _is(account_id: str, name: str) -> sa.ColumnElement[bool]:
    return (environments.c.account_id == account_id) & (environments.c.name == name)


def _from_row(row: sa.Row[Any]) -> Stage:
    return Stage(name=row.name, description=row.description, created_at=row.created_at)
