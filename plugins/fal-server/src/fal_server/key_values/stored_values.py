"""Stored values: texts by a name and a key, each for a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import attrs
import sqlalchemy as sa

from fal_server.errors import Invalid, NotFound, TooLarge
from fal_server.limits import Limits, option_of, write_size
from fal_server.state.databases import Database, metadata
from fal_server.state.upserts import put

#: Seconds that a value is kept: at least, at most, and unless it is told otherwise.
SHORTEST, LONGEST = 60, 30 * 24 * 3600

#: Seconds before what a full account has is counted again.
_AGAIN = 1.0

#: The longest name, the longest key, and the longest value, in bytes.
LONGEST_NAME, LONGEST_KEY, LARGEST_VALUE = 255, 1024, 1 << 20

stored_values = sa.Table(
    "stored_values",
    metadata,
    sa.Column("account_id", sa.ForeignKey("accounts.id"), primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.Float, nullable=False, index=True),
)


@attrs.define
class _Room:
    """
    What an account has at most: how many values, and their bytes.

    Attributes:
        full_at: When it was counted and found to be too much for a value. None after a change.
    """

    values: int
    size: int
    full_at: float | None = None


@attrs.define(eq=False)
class StoredValues:
    """The values of accounts, each in a store of a name."""

    _database: Database
    _limits: Limits
    _clock: Callable[[], float] = time.time
    _rooms: dict[str, _Room] = attrs.field(factory=dict, init=False)

    async def get(self, account_id: str, name: str, key: str) -> str:
        """
        Return a value.

        Raises:
            NotFound: There is none, or it has expired.
        """
        table = stored_values
        chosen = sa.select(table.c.value).where(
            *_is(account_id, name, key), table.c.expires_at > self._clock()
        )
        value = await self._database.read(lambda connection: connection.scalar(chosen))
        if value is None:
            raise NotFound("There is no such value.")
        return bytes(value).decode()

    async def set(
        self, account_id: str, name: str, key: str, value: str, seconds: float = LONGEST
    ) -> None:
        """
        Store a value for some *seconds*, in place of the one that was there.

        Raises:
            Invalid: The name, the key or the time is not one.

            TooLarge: The value is too large, or the account has no room for it.
        """
        if not SHORTEST <= seconds <= LONGEST:
            raise Invalid(f"A value is kept for {SHORTEST} to {LONGEST} seconds.")
        for text, longest, what in ((name, LONGEST_NAME, "name"), (key, LONGEST_KEY, "key")):
            if not text or "\0" in text or len(text.encode()) > longest:
                raise Invalid(f"The {what} of a value has 1 to {longest} bytes.")
        content = value.encode()
        if len(content) > LARGEST_VALUE:
            raise TooLarge(f"A value has at most {write_size(LARGEST_VALUE)} bytes.")
        size = len(content) + len(name.encode()) + len(key.encode())
        row = {
            "account_id": account_id,
            "name": name,
            "key": key,
            "value": content,
            "size": size,
            "expires_at": self._clock() + seconds,
        }

        def write(connection: sa.Connection) -> None:
            self._make_room(connection, (account_id, name, key), size)
            put(connection, stored_values, row)

        await self._database.write(write)

    async def delete(self, account_id: str, name: str, key: str) -> None:
        """Delete a value, if there is one."""
        chosen = stored_values.delete().where(*_is(account_id, name, key))
        await self._database.write(lambda connection: connection.execute(chosen))
        if room := self._rooms.get(account_id):
            room.full_at = None

    async def drop_expired(self) -> None:
        """Delete the values whose time is over."""
        old = stored_values.delete().where(stored_values.c.expires_at <= self._clock())
        await self._database.write(lambda connection: connection.execute(old))

    def _make_room(
        self, connection: sa.Connection, place: tuple[str, str, str], size: int
    ) -> None:
        """
        Count a value that is stored. An upper bound is known of what an account has, and it
        is counted where that is too much, also without the value that is replaced.
        """
        account_id, now = place[0], self._clock()
        limits, room = self._limits, self._rooms.get(account_id)
        table, is_there = stored_values, stored_values.c.expires_at > now
        has = (room.values, room.size) if room else None
        most = (limits.most_values - 1, limits.largest_values - size)
        if room is None or has is None or not _fits(has, most):
            chosen = sa.select(table.c.size).where(*_is(*place), is_there)
            replaced = connection.scalar(chosen)
            less = (0, 0) if replaced is None else (1, int(replaced))
            has = (room.values - less[0], room.size - less[1]) if room else None
            full_at = room.full_at if room else None
            is_counted = full_at is not None and now - full_at < _AGAIN
            if room is None or has is None or not (is_counted or _fits(has, most)):
                chosen = sa.select(sa.func.count(), sa.func.sum(table.c.size)).where(
                    table.c.account_id == account_id, is_there
                )
                values, total = connection.execute(chosen).one()
                room = self._rooms[account_id] = _Room(values, int(total or 0))
                has = (room.values - less[0], room.size - less[1])
        if not _fits(has, most):
            room.full_at = room.full_at or now
            limit = "most_values" if has[0] > most[0] else "largest_values"
            raise TooLarge(
                "The account has no room for another value. Delete some, or let them "
                "expire sooner; the operator of the server gives more by "
                f"{option_of(limit)!r}."
            )
        room.values, room.size, room.full_at = has[0] + 1, has[1] + size, None


def _fits(has: tuple[int, int], most: tuple[int, int]) -> bool:
    return has[0] <= most[0] and has[1] <= most[1]


def _is(account_id: str, name: str, key: str) -> Iterable[sa.ColumnElement[bool]]:
    columns = stored_values.c
    return columns.account_id == account_id, columns.name == name, columns.key == key
