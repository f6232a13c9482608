"""
Searches for a text in lines, in the order that SQLite takes the least time for.

By the index of times, the newest lines come first, and a text that many lines have is found at
once. Where few have it, to read the table from its beginning to its end takes half as long as
to find each line by an index. PostgreSQL decides by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import sqlalchemy as sa

from fal_server.logs.log_lines import LogFilter, logs, to_micros

#: Up to how many lines are found by the index alone, and how many of the newest are looked at
#: before the whole table is.
_FEW, _NEWEST = 50_000, 10_000

_ORDER = (logs.c.time.desc(), logs.c.number.desc())

_ROW: sa.ColumnElement[int] = sa.literal_column("logs._rowid_")


def newest_lines(
    connection: sa.Connection, filter: LogFilter, size: int
) -> Sequence[sa.Row[Any]]:
    """
    Return the newest lines that match, *size* of them at most, the newest first.
    """
    by_time = sa.select(logs).where(filter.condition()).order_by(*_ORDER).limit(size)
    if not _may_be_rare(connection, filter):
        return connection.execute(by_time).all()
    # The index alone has these columns.
    times = sa.select(logs.c.time).where(logs.c.account_id == filter.account_id)
    if filter.since is not None:
        times = times.where(logs.c.time >= to_micros(filter.since))
    if filter.until is not None:
        times = times.where(logs.c.time <= to_micros(filter.until))
    newest = connection.scalar(times.order_by(logs.c.time.desc()).limit(1).offset(_NEWEST))
    if newest is None:
        return connection.execute(by_time).all()
    # In place of another limit: an index begins at one alone.
    near = attrs.evolve(filter, since=None).condition() & (logs.c.time >= newest)
    found = connection.execute(sa.select(logs).where(near).order_by(*_ORDER).limit(size)).all()
    if len(found) == size:
        return found
    count = connection.scalar(sa.select(sa.func.count()).select_from(times.subquery())) or 0
    if count <= _FEW:
        return connection.execute(by_time).all()
    ends = (sa.select(end(_ROW)).select_from(logs) for end in (sa.func.min, sa.func.max))
    first, last = (connection.scalar(each) or 0 for each in ends)
    if 2 * count < last - first:
        # Most lines are of others.
        return connection.execute(by_time).all()
    in_place = sa.select(logs).where(filter.condition(in_place=True))
    return connection.execute(in_place.order_by(*_ORDER).limit(size)).all()


def _may_be_rare(connection: sa.Connection, filter: LogFilter) -> bool:
    is_chosen = filter.runner_id is None and filter.request_id is None
    has_text = filter.search is not None or filter.tracebacks
    return is_chosen and has_text and connection.dialect.name == "sqlite"
