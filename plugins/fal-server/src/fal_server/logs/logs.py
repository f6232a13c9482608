"""
The logs of runners: stored, searched and followed.

Lines are added from any thread, numbered in the order in which they come, and written in
batches. Followers get them after they are written.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import attrs
import sqlalchemy as sa

from fal_server.limits import Limits
from fal_server.logs.kept_lines import KeptLines, count_lines, delete_lines, find_old
from fal_server.logs.line_buffers import LineBuffer
from fal_server.logs.log_lines import (
    LogFilter,
    LogLine,
    from_row,
    logs,
    numbered,
    shorten,
    to_micros,
)
from fal_server.state.databases import Database

logger = logging.getLogger(__name__)

#: The most bytes of lines that wait to be written; beyond, the oldest are dropped.
WAITING = 64 << 20

#: The most lines of one write, and of one page.
_BATCH = 2000

#: The most lines that a follower gets at once: they are written for it while nothing else is
#: done.
_SHOWN = 100

#: The most bytes of lines that wait for one follower.
_FOLLOWED = 8 << 20

#: Seconds between two writes.
_INTERVAL = 0.1

#: Seconds before a failed write is repeated.
_AGAIN = 1.0

#: Seconds that lines are kept.
KEPT = 7 * 24 * 3600.0


@attrs.frozen
class Page:
    """
    Some lines, the newest first.

    Attributes:
        next_until: The end of the page with the lines before these, as a time in seconds
            since the epoch. None where there are none.
    """

    lines: Sequence[LogLine]
    next_until: float | None


@attrs.define(eq=False)
class Follower:
    """One who follows the logs, and the lines that wait for them."""

    filter: LogFilter
    lines: LineBuffer = attrs.field(
        factory=lambda: LineBuffer(_FOLLOWED, "they came faster than they were read.")
    )
    woken: asyncio.Event = attrs.field(factory=asyncio.Event)


class StoredLogs:
    """The lines that are stored, regardless of which server writes them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def flush(self) -> None:
        """Leave it to the server that takes lines to write them."""

    async def search(self, filter: LogFilter, *, size: int = 1000) -> Page:
        """
        Return the newest lines that match, about *size* of them.

        Lines of the same time are on the same page, so that the next page, which ends at
        ``next_until``, continues exactly where this one ends.
        """
        size = max(1, min(size, _BATCH))

        def read(connection: sa.Connection) -> Page:
            rows = newest_lines(connection, filter, size + 1)
            if len(rows) <= size:
                return Page([from_row(row) for row in rows], None)
            last = rows[-1].time
            kept = [row for row in rows if row.time > last]
            if not kept:
                same = sa.select(logs).where(filter.condition(), logs.c.time == last)
                found = connection.execute(same.order_by(logs.c.number.desc()))
                kept, last = list(found), last - 1
            return Page([from_row(row) for row in kept], last / 1_000_000)

        return await self._database.read(read)

    async def read(self, filter: LogFilter, *, size: int = 1000) -> Sequence[LogLine]:
        """Return the first lines that match, in the order in which they came."""

        def read(connection: sa.Connection) -> Sequence[LogLine]:
            chosen = sa.select(logs).where(filter.condition()).order_by(logs.c.number)
            return [from_row(row) for row in connection.execute(chosen.limit(size))]

        return await self._database.read(read)


class Logs(StoredLogs):
    """
    Stores the logs of all runners.

    It must be made in the event loop in which it is used; :meth:`add` may be called in any
    thread.

    Arguments:
        count: Called after each write with the number of lines.

    Attributes:
        limits: How long lines may be, and how much is kept of them.

        listeners: Called with lines once they are written.
    """

    def __init__(
        self,
        database: Database,
        count: Callable[[float], None] | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(database)
        self.limits = limits or Limits()
        self._kept = KeptLines(self.limits)
        self._count = count
        self._lock = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self._waiting = LineBuffer(WAITING, "they could not be written in time.")
        #: Called with the lines that were written.
        self.listeners: list[Callable[[Sequence[LogLine]], None]] = []
        self._followers: set[Follower] = set()
        self._writing: asyncio.Task[None] | None = None
        self._scheduled = False
        self._failed = False
        self._closed = self._closing = False
        self._ended = False
        self._number = database.read_here(_last_number)
        database.write_here(count_lines)

    def add(self, line: LogLine) -> None:
        """Store a line. Searches find it a moment later."""
        if self._closing:
            # The next server reads the lines of the runners that go on from their journals.
            return
        longest = self.limits.longest_line
        if len(line.message) > longest:
            line = attrs.evolve(line, message=shorten(line.message, longest))
        with self._lock:
            self._waiting.add(line)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon_threadsafe(self._schedule)

    async def flush(self) -> None:
        """Wait until all lines that were added are written, or a write has failed."""
        while self._waiting or self._writing is not None:
            self._start_writing(0.0)
            writing = self._writing
            assert writing is not None
            await asyncio.wait([writing])
            if writing.exception() is not None:
                return

    async def close(self) -> None:
        """
        Write the lines that were added, and store none that are added from now on.

        The event loop may end then: no task is left on it.
        """
        self._closing = True
        await self.flush()
        self._ended = True

    async def follow(self, filter: LogFilter) -> AsyncGenerator[Sequence[LogLine], None]:
        """
        Yield the lines that match, some at a time: first those that are stored, then new ones.

        A follower that is too slow misses the oldest lines, and is told how many.
        """
        follower = Follower(filter)
        self._followers.add(follower)
        try:
            last = filter.after or 0
            while True:
                lines = await self.read(attrs.evolve(filter, after=last))
                if not lines:
                    break
                last = lines[-1].number
                for start in range(0, len(lines), _SHOWN):
                    yield lines[start : start + _SHOWN]
            while not self._closed:
                new = [line for line in follower.lines.take(_SHOWN) if line.number > last]
                if new:
                    yield new
                if follower.lines:
                    continue
                follower.woken.clear()
                await follower.woken.wait()
        finally:
            self._followers.discard(follower)

    async def last_time(self, runner_id: str) -> float:
        """
        Return when the last stored line of a runner was printed, in seconds since the
        epoch. 0 where there is none.
        """
        of_it = sa.select(sa.func.max(logs.c.time)).where(logs.c.runner_id == runner_id)
        micros = await self._database.read(lambda connection: connection.scalar(of_it))
        # Two lines of the same microsecond cannot be told apart.
        return (micros or 0) / 1_000_000

    def end_following(self) -> None:
        """End all followers."""
        self._closed = True
        for follower in self._followers:
            follower.woken.set()

    async def delete(self, *, before: float) -> int:
        """Delete the lines from *before* a time, and return how many they were."""
        micros, last, count = to_micros(before), 0, 0
        # Other writes take their turns.
        while found := await self._database.read(
            functools.partial(find_old, micros=micros, after=last)
        ):
            first, last = found
            count += await self._database.write(
                functools.partial(delete_lines, micros=micros, first=first, last=last)
            )
        return count

    def _schedule(self) -> None:
        self._scheduled = False
        self._start_writing(_INTERVAL)

    def _start_writing(self, pause: float) -> None:
        if self._writing is None and self._waiting and not self._ended:
            self._writing = self._loop.create_task(self._write(pause))
            self._writing.add_done_callback(self._written)

    def _written(self, task: asyncio.Task[None]) -> None:
        self._writing = None
        failed = not task.cancelled() and task.exception() is not None
        if failed and not self._failed:
            logger.error("%d lines wait to be written", len(self._waiting))
        self._failed = failed
        if not task.cancelled():
            # There may be new lines, or those that could not be written.
            self._start_writing(_AGAIN if failed else _INTERVAL)

    async def _write(self, pause: float) -> None:
        """Write the lines that wait, and give them to followers."""
        await asyncio.sleep(pause)
        while self._waiting:
            with self._lock:
                taken = self._waiting.take(_BATCH)
            lines = [numbered(line, self._next_number()) for line in taken]
            try:
                await self._database.write(functools.partial(self._kept.insert, lines))
            except BaseException:
                with self._lock:
                    self._waiting.add_again(taken)
                raise
            if self._count is not None:
                self._count(len(lines))
            for listener in self.listeners:
                listener(lines)
            for follower in self._followers:
                found = [line for line in lines if follower.filter.matches(line)]
                for line in found:
                    follower.lines.add(line)
                if found:
                    follower.woken.set()

    def _next_number(self) -> int:
        self._number += 1
        return self._number


def _last_number(connection: sa.Connection) -> int:
    return connection.scalar(sa.select(sa.func.max(logs.c.number))) or 0


# By the index of times, the newest lines come first, and a text that many lines have is found
# at once. Where few have it, to read the table from its beginning to its end takes half as long
# as to find each line by an index. PostgreSQL decides by itself.

#: Up to how many lines are found by the index alone, and how many of the newest are looked at
#: before the whole table is.
_FEW, _NEWEST = 50_000, 10_000

_ORDER = (logs.c.time.desc(), logs.c.number.desc())

_ROW: sa.ColumnElement[int] = sa.literal_column("logs._rowid_")


def newest_lines(
    connection: sa.Connection, filter: LogFilter, size: int
) -> Sequence[sa.Row[Any]]:
    """Return the newest lines that match, *size* of them at most, the newest first."""
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
