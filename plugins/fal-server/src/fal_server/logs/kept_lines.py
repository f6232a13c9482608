"""
Kept lines: how much is kept of the lines of each runner and each account.

The oldest lines go first, and the last of those that went is replaced by a line that says so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import sqlalchemy as sa

from fal_server.limits import Limits, write_size
from fal_server.logs.line_buffers import write_number
from fal_server.logs.log_lines import OVERHEAD, LogLine, logs, size_of, to_row
from fal_server.state.databases import metadata
from fal_server.state.upserts import add_to

shares = sa.Table(
    "log_shares",
    metadata,
    sa.Column("runner_id", sa.String, primary_key=True),
    sa.Column("account_id", sa.String, primary_key=True),
    #: The bytes of its lines, with what each costs.
    sa.Column("size", sa.BigInteger, nullable=False),
    #: How many of its lines were dropped, and the number of the line that says so.
    sa.Column("dropped", sa.BigInteger, nullable=False, default=0),
    sa.Column("note", sa.BigInteger),
    sa.Index("log_shares_of_account", "account_id"),
)

#: The part of what is kept that makes room at once.
_PART = 64

#: The lines that are looked at in one query, and the most that are deleted for their age in
#: one transaction.
_PAGE = 2000

#: The most pages that are dropped in one transaction: there are many where a limit was lowered.
_MOST_PAGES = 5

#: The most runners and accounts whose new lines are counted before all are asked again.
_MOST = 10_000

_SIZE = sa.func.octet_length(logs.c.message) + OVERHEAD

_COLUMNS = (
    *(logs.c.number, logs.c.time, logs.c.runner_id, logs.c.application),
    _SIZE.label("size"),
)


@attrs.define(eq=False)
class KeptLines:
    """
    Stores lines, and drops old ones for them as far as they take more than they may.

    Arguments:
        limits: How much is kept of a runner, and of an account.
    """

    _limits: Limits
    # The bytes that have come since it was last asked how much is kept: of an account, and of
    # a runner. To ask with every few lines would cost more than to store them.
    _new: dict[tuple[str, str | None], int] = attrs.field(factory=dict, init=False)

    def insert(self, lines: Sequence[LogLine], connection: sa.Connection) -> None:
        """Store *lines*."""
        connection.execute(logs.insert(), [to_row(line) for line in lines])
        sizes: dict[tuple[str, str], int] = defaultdict(int)
        for line in lines:
            sizes[line.account_id, line.runner_id] += size_of(line)
        for (account_id, runner_id), size in sizes.items():
            _add(connection, account_id, runner_id, size)
        for (account_id, runner_id), size in sizes.items():
            largest = self._limits.largest_runner_logs
            self._make_room(connection, largest, size, account_id, runner_id)
            self._make_room(connection, self._limits.largest_logs, size, account_id)

    def _make_room(
        self,
        connection: sa.Connection,
        largest: int,
        size: int,
        account_id: str,
        runner_id: str | None = None,
    ) -> None:
        """
        Drop the oldest lines of an account, or of a runner, if *size* more bytes make it
        necessary.

        Arguments:
            largest: What they may have, in bytes.
        """
        if len(self._new) > _MOST:
            self._new.clear()
        part = largest // _PART
        key = account_id, runner_id
        new = self._new.get(key, part) + size
        if new > part:
            new = 0
            kept = _size(connection, account_id, runner_id)
            # It is not asked again until there is as much more.
            if kept > largest - part and not _trim(
                connection, kept, largest, account_id, runner_id
            ):
                new = part
        self._new[key] = new


def find_old(connection: sa.Connection, micros: int, after: int) -> tuple[int, int] | None:
    """
    Return the numbers of the first and the last line to delete in one transaction, of those
    from before a time in microseconds. None where there are none.

    Arguments:
        after: The number of the line after which to look.
    """
    is_old = (logs.c.time < micros) & (logs.c.number > after)
    chosen = sa.select(logs.c.number).where(is_old).order_by(logs.c.number).limit(_PAGE)
    numbers = connection.scalars(chosen).all()
    return (numbers[0], numbers[-1]) if numbers else None


def delete_lines(connection: sa.Connection, micros: int, first: int, last: int) -> int:
    """
    Delete the lines from before a time in microseconds, and return how many they were.

    Arguments:
        first, last: The numbers of the first and the last that may be deleted.
    """
    is_old = (logs.c.time < micros) & logs.c.number.between(first, last)
    columns = (logs.c.account_id, logs.c.runner_id)
    found = connection.execute(
        sa.select(*columns, sa.func.sum(_SIZE)).where(is_old).group_by(*columns)
    ).all()
    count = connection.execute(logs.delete().where(is_old)).rowcount
    for account_id, runner_id, size in found:
        _add(connection, account_id, runner_id, -int(size))
    connection.execute(shares.delete().where(shares.c.size <= 0))
    return count


def count_lines(connection: sa.Connection) -> None:
    """Count what is kept, where a server has kept it that did not count."""
    if connection.scalar(sa.select(shares.c.size).limit(1)) is not None:
        return
    columns = (logs.c.account_id, logs.c.runner_id)
    query = sa.select(*columns, sa.func.sum(_SIZE)).group_by(*columns)
    for account_id, runner_id, size in connection.execute(query).all():
        _add(connection, account_id, runner_id, int(size))


def _is(account_id: str, runner_id: str | None) -> sa.ColumnElement[bool]:
    chosen = shares.c.account_id == account_id
    return chosen if runner_id is None else chosen & (shares.c.runner_id == runner_id)


def _add(connection: sa.Connection, account_id: str, runner_id: str, size: int) -> None:
    values = {"account_id": account_id, "runner_id": runner_id, "size": size, "dropped": 0}
    add_to(connection, shares.c.size, values)


def _size(connection: sa.Connection, account_id: str, runner_id: str | None = None) -> int:
    query = sa.select(sa.func.sum(shares.c.size)).where(_is(account_id, runner_id))
    return int(connection.scalar(query) or 0)


@attrs.define
class _Gone:
    """
    What was dropped of the lines of one runner.

    Attributes:
        last: The row of the last line.
    """

    count: int = 0
    size: int = 0
    last: Any = None


def _trim(
    connection: sa.Connection,
    size: int,
    largest: int,
    account_id: str,
    runner_id: str | None = None,
) -> bool:
    """
    Drop the oldest lines of an account, or of a runner, some pages of them. Return whether
    the others have room.

    Arguments:
        size: What they have, in bytes.

        largest: What they may have.
    """
    # Another transaction that drops lines of the account waits, and sees what is left then.
    connection.execute(sa.select(shares.c.size).where(_is(account_id, None)).with_for_update())
    excess = size - largest + 2 * (largest // _PART)
    # By one column, so that an index has them in this order.
    of_them = (
        logs.c.account_id == account_id if runner_id is None else logs.c.runner_id == runner_id
    )
    noted = sa.select(shares.c.note).where(
        _is(account_id, runner_id) & shares.c.note.is_not(None)
    )
    old = of_them & logs.c.number.not_in(noted)
    gone: dict[str, _Gone] = defaultdict(_Gone)
    pages = 0
    while excess > 0 and pages < _MOST_PAGES:
        pages += 1
        query = sa.select(*_COLUMNS).where(old).order_by(logs.c.time, logs.c.number)
        rows = connection.execute(query.limit(_PAGE)).all()
        dropped = []
        for row in rows:
            if excess <= 0:
                break
            excess -= row.size
            dropped.append(row.number)
            each = gone[row.runner_id]
            each.count, each.size, each.last = each.count + 1, each.size + row.size, row
        _delete(connection, dropped)
        if len(rows) < _PAGE:
            break
    where = "the account" if runner_id is None else "a runner"
    for each in gone.values():
        _note(connection, account_id, each, f"of {where}, the newest {write_size(largest)} are")
    return excess <= 0 or pages < _MOST_PAGES


def _delete(connection: sa.Connection, numbers: Iterable[int]) -> None:
    chosen = logs.delete().where(logs.c.number == sa.bindparam("gone"))
    parameters = [{"gone": number} for number in numbers]
    if parameters:
        connection.execute(chosen, parameters)


def _note(connection: sa.Connection, account_id: str, gone: _Gone, what: str) -> None:
    """Put a line in the place of those that were dropped, and count."""
    last = gone.last
    is_it = _is(account_id, last.runner_id)
    share = connection.execute(sa.select(shares).where(is_it)).one()
    dropped, size = share.dropped + gone.count, share.size - gone.size
    if share.note is not None:
        before = logs.c.number == share.note
        size -= int(connection.scalar(sa.select(_SIZE).where(before)) or 0)
        connection.execute(logs.delete().where(before))
    line = LogLine(
        message=f"{write_number(dropped)} dropped from here: {what} kept.",
        account_id=account_id,
        application=last.application,
        runner_id=last.runner_id,
        number=last.number,
        level="WARNING",
        source="BRIDGE",
    )
    connection.execute(logs.insert().values({**to_row(line), "time": last.time}))
    values = {"dropped": dropped, "note": line.number, "size": size + size_of(line)}
    connection.execute(shares.update().where(is_it).values(**values))
