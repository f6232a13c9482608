"""
Logs: what runners print, followed as it comes and kept to be searched.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator

import attrs
import sqlalchemy as sa

from fal_server.errors import Refusal
from fal_server.state import Store, metadata

logger = logging.getLogger(__name__)

#: Seconds between two writes of what has come, and the most lines of one.
_INTERVAL = 0.25
_BLOCK = 5000

lines = sa.Table(
    "log_lines",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("time", sa.Float, nullable=False, index=True),
    sa.Column("owner", sa.String, nullable=False),
    sa.Column("application", sa.String, nullable=False, index=True),
    sa.Column("runner", sa.String, nullable=False, index=True),
    sa.Column("request", sa.String, nullable=False, index=True),
    sa.Column("level", sa.String, nullable=False),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
)


@attrs.frozen(kw_only=True)
class LogLine:
    """
    One line of output.

    Attributes:
        owner: The account that the runner belongs to.

        application: The name of what runs. Empty for a plain function.

        request: The request, or the run, that it was printed for. Empty for none.

        time: Seconds since the epoch.
    """

    owner: str
    application: str
    runner: str
    request: str
    level: str
    source: str
    message: str
    time: float


class Logs:
    """
    Takes the lines of all runners.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[LogLine] = []
        self._followers: list[Callable[[LogLine], None]] = []
        self._by_request: dict[str, list[Callable[[LogLine], None]]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """
        Begin to write.
        """
        self._task = asyncio.create_task(self._write_regularly())

    async def close(self) -> None:
        """
        Write what has come until now.
        """
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        with contextlib.suppress(Refusal):
            await self.flush()

    def add(self, line: LogLine) -> None:
        """
        Take *line*, and tell those that follow.
        """
        self._waiting.append(line)
        for tell in self._by_request.get(line.request, ()) if line.request else ():
            tell(line)
        for tell in list(self._followers):
            tell(line)

    async def flush(self) -> None:
        """
        Write what has come.
        """
        while self._waiting:
            block, self._waiting = self._waiting[:_BLOCK], self._waiting[_BLOCK:]
            rows = [attrs.asdict(line) for line in block]

            def insert(
                connection: sa.Connection, rows: list[dict[str, object]] = rows
            ) -> None:
                connection.execute(lines.insert(), rows)

            await self._store.write(insert)

    async def find(
        self,
        owner: str,
        *,
        application: str | None = None,
        runner: str | None = None,
        request: str | None = None,
        search: str | None = None,
        since: float | None = None,
        until: float | None = None,
        limit: int = 1000,
        newest_first: bool = False,
    ) -> list[LogLine]:
        """
        Return lines of *owner* that fit all that is asked for.
        """
        await self.flush()
        query = sa.select(lines).where(lines.c.owner == owner)
        for column, wanted in (
            (lines.c.application, application),
            (lines.c.runner, runner),
            (lines.c.request, request),
        ):
            if wanted is not None:
                query = query.where(column == wanted)
        if search:
            query = query.where(lines.c.message.contains(search, autoescape=True))
        if since is not None:
            query = query.where(lines.c.time >= since)
        if until is not None:
            query = query.where(lines.c.time < until)
        order = (lines.c.time, lines.c.id)
        query = query.order_by(*(each.desc() if newest_first else each for each in order))
        query = query.limit(limit)

        def read(connection: sa.Connection) -> list[LogLine]:
            names = [field.name for field in attrs.fields(LogLine)]
            return [
                LogLine(**{name: getattr(row, name) for name in names})
                for row in connection.execute(query)
            ]

        return await self._store.read(read)

    @contextlib.contextmanager
    def following(self, tell: Callable[[LogLine], None]) -> Iterator[None]:
        """
        Tell of each line that comes within the context.
        """
        self._followers.append(tell)
        try:
            yield
        finally:
            self._followers.remove(tell)

    @contextlib.contextmanager
    def following_request(
        self, request: str, tell: Callable[[LogLine], None]
    ) -> Iterator[None]:
        """
        Tell of each line of one request that comes within the context.
        """
        kept = self._by_request.setdefault(request, [])
        kept.append(tell)
        try:
            yield
        finally:
            kept.remove(tell)
            if not kept:
                self._by_request.pop(request, None)

    async def follow(self, fits: Callable[[LogLine], bool]) -> AsyncIterator[LogLine]:
        """
        Iterate over the lines that come from now on and that fit, without end.
        """
        queue: asyncio.Queue[LogLine] = asyncio.Queue()
        with self.following(queue.put_nowait):
            while True:
                line = await queue.get()
                if fits(line):
                    yield line

    async def _write_regularly(self) -> None:
        while True:
            await asyncio.sleep(_INTERVAL)
            if self._waiting:
                try:
                    await self.flush()
                except Refusal as error:
                    logger.warning("Log lines could not be kept: %s", error)
