"""
Stages: what an account deploys to, as ``main`` and ``staging``.

The protocol and released clients call them environments.
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
from fal_server.state.upserts import add_new
from fal_server.store.accounts import find_account

#: The stage that every account has.
DEFAULT = "main"

stages = sa.Table(
    "environments",
    metadata,
    sa.Column("account_id", sa.ForeignKey("accounts.id"), primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("description", sa.String),
    sa.Column("created_at", sa.Float, nullable=False),
)

#: Two dashes separate the name of an application from that of its stage.
_NAME = re.compile(r"(?!.*--)[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")

_LONGEST_DESCRIPTION = 500

#: Called with an account and the name of its stage that is deleted.
Removal = Callable[[sa.Connection, str, str], None]


@attrs.frozen(kw_only=True)
class Stage:
    """A stage of an account."""

    name: str
    description: str | None
    created_at: float

    @property
    def is_default(self) -> bool:
        """Whether it is the stage that every account has."""
        return self.name == DEFAULT


class Stages:
    """
    Stores the stages of all accounts.

    Attributes:
        removals: Called within the transaction that deletes a stage, to delete what
            belongs to it.

        removed: Called after a stage was deleted.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.removals: list[Removal] = []
        self.removed: list[Callable[[], object]] = []

    async def list(self, account_id: str) -> Sequence[Stage]:
        """Return the stages of an account, the default one first."""

        def read(connection: sa.Connection) -> Sequence[Stage]:
            account = find_account(connection, id=account_id)
            first = Stage(
                name=DEFAULT,
                description=None,
                created_at=account.created_at if account else 0.0,
            )
            chosen = sa.select(stages).where(stages.c.account_id == account_id)
            rows = connection.execute(chosen.order_by(stages.c.created_at))
            return [first, *map(_from_row, rows)]

        return await self._database.read(read)

    async def create(self, account_id: str, name: str, description: str | None = None) -> Stage:
        """
        Create a stage.

        Raises:
            Invalid: The name is not valid, or the description is too long.

            AlreadyExists: The name is taken.
        """
        if not _NAME.fullmatch(name):
            raise Invalid(
                f"{name[:80]!r} is not a valid name of an environment. A name has at most 63 "
                "lower-case letters, digits, underscores and single dashes."
            )
        if description is not None and len(description) > _LONGEST_DESCRIPTION:
            raise Invalid(f"A description has at most {_LONGEST_DESCRIPTION} characters.")
        new = Stage(name=name, description=description, created_at=time.time())

        def write(connection: sa.Connection) -> Stage:
            values = {"account_id": account_id, **attrs.asdict(new)}
            if name == DEFAULT or not add_new(connection, stages, values):
                raise AlreadyExists(f"There is an environment {name!r} already.")
            return new

        return await self._database.write(write)

    async def delete(self, account_id: str, name: str) -> None:
        """
        Delete a stage with everything that belongs to it.

        Raises:
            NotFound: There is no stage of this name.

            NotNow: It is the default one.
        """
        if name == DEFAULT:
            raise NotNow(f"The environment {DEFAULT!r} cannot be removed.")

        def write(connection: sa.Connection) -> None:
            # Nothing is added to it meanwhile.
            require(connection, account_id, name, locked=True)
            for removal in self.removals:
                removal(connection, account_id, name)
            connection.execute(stages.delete().where(_is(account_id, name)))

        try:
            await self._database.write(write)
        finally:
            for each in self.removed:
                each()


def require(
    connection: sa.Connection, account_id: str, name: str, *, locked: bool = False
) -> None:
    """
    Check that an account has a stage of this name.

    Arguments:
        locked: Whether it stays until the end of the transaction.

    Raises:
        NotFound: It has not.
    """
    if name == DEFAULT:
        return
    query = sa.select(stages.c.name).where(_is(account_id, name))
    if connection.scalar(query.with_for_update() if locked else query) is None:
        raise NotFound(f"Environment {name[:80]!r} was not found.")


def _is(account_id: str, name: str) -> sa.ColumnElement[bool]:
    return (stages.c.account_id == account_id) & (stages.c.name == name)


def _from_row(row: sa.Row[Any]) -> Stage:
    return Stage(name=row.name, description=row.description, created_at=row.created_at)
