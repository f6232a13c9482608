"""State keys: the secret bytes of servers that share a database, each made once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import attrs
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from fal_server.state.databases import Database, metadata

state_keys = sa.Table(
    "state_keys",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    # None for a key that is kept elsewhere, of which the state has the digest.
    sa.Column("value", sa.LargeBinary),
    sa.Column("digest", sa.String),
    sa.Column("created_at", sa.Float, nullable=False),
)


@attrs.frozen
class StateKey:
    """
    A key, or what is known of one.

    Attributes:
        value: None for a key that is kept elsewhere.

        digest: Of a key that is kept elsewhere.
    """

    value: bytes | None = attrs.field(repr=False)
    digest: str | None = None


@attrs.frozen
class StateKeys:
    """The keys in a database, in this thread."""

    database: Database

    def find(self, name: str) -> StateKey | None:
        """Return a key. None where there is none of that name."""
        chosen = sa.select(state_keys).where(state_keys.c.name == name)
        row = self.database.read_here(lambda connection: connection.execute(chosen).first())
        return None if row is None else StateKey(row.value, row.digest)

    def find_or_make(self, name: str, make: Callable[[], bytes]) -> bytes:
        """
        Return a key, which is made unless there is one. Of several servers that make it at
        once, all get the same.
        """
        found = self.find(name)
        if found is None:
            made = make()
            try:
                self.database.write_here(lambda it: insert_key(it, name, made), fenced=False)
            except IntegrityError:
                # Another server was first.
                found = self.find(name)
            else:
                return made
        assert found is not None
        assert found.value is not None
        return found.value

    def put(self, name: str, value: bytes | None, digest: str | None = None) -> None:
        """Put a key in the place of another."""

        def write(connection: sa.Connection) -> None:
            connection.execute(state_keys.delete().where(state_keys.c.name == name))
            insert_key(connection, name, value, digest)

        self.database.write_here(write, fenced=False)

    def forget(self, name: str) -> None:
        """Remove a key, or what is known of it."""
        chosen = state_keys.delete().where(state_keys.c.name == name)
        self.database.write_here(lambda it: it.execute(chosen), fenced=False)


def insert_key(
    connection: sa.Connection, name: str, value: bytes | None, digest: str | None = None
) -> None:
    """Insert a key. There must be none of that name."""
    row = {"name": name, "value": value, "digest": digest, "created_at": time.time()}
    connection.execute(state_keys.insert().values(row))


def missing_keys(connection: sa.Connection, names: Iterable[str]) -> list[str]:
    """Return those of *names* of which there is no key."""
    found = set(connection.scalars(sa.select(state_keys.c.name)))
    return [name for name in names if name not in found]
