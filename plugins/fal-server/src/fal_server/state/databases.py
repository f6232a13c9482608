"""
The state: one database, written by one thread and read by several.

Each part declares its tables on :data:`metadata`. What is to be written is a
function of a connection. Whatever waits is written in one transaction, so that many
small writes cost one commit, and a write has returned once it is durable.

Times in tables are seconds since the epoch, in UTC.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import attrs
import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError, OperationalError

from fal_server.errors import (
    STATE_TROUBLE,
    DataTooNew,
    StateBroken,
    StateUnavailable,
    StorageFull,
    Unavailable,
)
from fal_server.state.engines import (
    FileGone,
    identify,
    is_full,
    is_locked,
    make_engine,
    path_of,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: All tables of the server.
metadata = sa.MetaData()

#: The layout of the tables. It grows with a change that an older version cannot read.
LAYOUT = 1

#: Seconds that a database which is locked or gone is waited for.
PATIENCE = 60.0

#: Writes of one transaction at most.
_GROUP = 512

layouts = sa.Table("layout", metadata, sa.Column("version", sa.Integer, nullable=False))


@attrs.define(eq=False)
class Pending:
    """
    A write that waits, and who waits for it.
    """

    work: Callable[[sa.Connection], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]

    def settle(self, result: Any, error: BaseException | None) -> None:
        """
        Tell who waits, in their event loop.
        """
        if self.future.done():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


class Database:
    """
    A database, with one thread that writes and *readers* that read.

    Attributes:
        observe: Told of each transaction: how many writes were in it, and how many
            seconds it took.

    Raises:
        DataTooNew: A newer version has written it.

        StateBroken: It cannot be used.
    """

    def __init__(self, url: str, *, readers: int = 4, patience: float = PATIENCE) -> None:
        self.url = url
        self.patience = patience
        self.observe: Callable[[int, float], None] = _ignore
        self._writing = make_engine(url, begin="BEGIN IMMEDIATE", pool=1)
        self._reading = make_engine(url, begin="BEGIN", pool=readers)
        self._readers = ThreadPoolExecutor(readers, "state-reader")
        self._queue: queue.SimpleQueue[Pending | None] = queue.SimpleQueue()
        self._closed = False
        self._path = path_of(self._writing)
        self._file: tuple[int, int] | None = None
        self._make_tables()
        if self._path is not None:
            self._file = identify(self._path)
        self._thread = threading.Thread(target=self._write_all, name="state-writer")
        self._thread.start()

    async def write(self, work: Callable[[sa.Connection], T]) -> T:
        """
        Run *work* with a connection that writes, and return what it returns once that
        is durable.

        It may be run more than once, where a transaction has to be repeated: it does
        nothing but use the connection. What it raises undoes it, and nothing else.

        Raises:
            StorageFull: There is no room.

            StateUnavailable: The database is damaged, or was locked or gone for too long.

            Unavailable: The database is closed.

            Exception: What *work* raised.
        """
        if self._closed:
            raise Unavailable("The server is ending.")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._queue.put(Pending(work, loop, future))
        return await future

    async def read(self, work: Callable[[sa.Connection], T]) -> T:
        """
        Run *work* with a connection that reads one state of the database.

        Raises:
            StateUnavailable: The database is damaged, or was locked or gone for too long.

            Unavailable: The database is closed.

            Exception: What *work* raised.
        """
        if self._closed:
            raise Unavailable("The server is ending.")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self.read_here, work)

    def read_here(self, work: Callable[[sa.Connection], T]) -> T:
        """
        Do as :meth:`read` does, in this thread.
        """
        return self._patiently(lambda: self._within(self._reading, work))

    def write_here(self, work: Callable[[sa.Connection], T]) -> T:
        """
        Do as :meth:`write` does, in this thread, while no event loop runs.
        """
        return self._patiently(lambda: self._within(self._writing, work))

    def close(self) -> None:
        """
        Write what waits, and let go of the database.
        """
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._thread.join()
        self._readers.shutdown()
        self._writing.dispose()
        self._reading.dispose()

    def _make_tables(self) -> None:
        def check(connection: sa.Connection) -> None:
            found = connection.scalar(sa.select(layouts.c.version))
            if found is None:
                connection.execute(layouts.insert().values(version=LAYOUT))
            elif found > LAYOUT:
                raise DataTooNew(found, LAYOUT)

        try:
            self._first(lambda: metadata.create_all(self._writing))
            self.write_here(check)
        except BaseException:
            self._writing.dispose()
            raise

    def _first(self, attempt: Callable[[], None]) -> None:
        """
        Do what opens the database: it is waited for where it is locked, and told to be
        broken where it is.
        """
        deadline = time.monotonic() + self.patience
        while True:
            try:
                return attempt()
            except DatabaseError as error:
                if not is_locked(error) or time.monotonic() > deadline:
                    url = sa.engine.make_url(self.url).render_as_string(hide_password=True)
                    raise StateBroken(url, str(error.orig)) from error
            time.sleep(0.1)

    def _write_all(self) -> None:
        ended = False
        while not ended:
            pending = self._queue.get()
            group: list[Pending] = []
            while True:
                if pending is None:
                    ended = True
                else:
                    group.append(pending)
                if len(group) >= _GROUP:
                    break
                try:
                    pending = self._queue.get_nowait()
                except queue.Empty:
                    break
            if group:
                started = time.monotonic()
                self._write_group(group)
                self.observe(len(group), time.monotonic() - started)

    def _write_group(self, group: list[Pending]) -> None:
        """
        Write *group* in one transaction, or each in its own where one of them fails.
        """
        if len(group) > 1:
            try:
                results = self._patiently(lambda: self._write_together(group))
            except (Unavailable, *STATE_TROUBLE) as error:
                _settle([(each, None, error) for each in group])
                return
            except Exception:
                # One of them failed; alone, each fails or succeeds for itself.
                pass
            else:
                _settle([(each, it, None) for each, it in zip(group, results, strict=True)])
                return
        for pending in group:
            try:
                result = self.write_here(pending.work)
            except Exception as error:
                _settle([(pending, None, error)])
            else:
                _settle([(pending, result, None)])

    def _write_together(self, group: list[Pending]) -> list[Any]:
        return self._within(
            self._writing, lambda connection: [each.work(connection) for each in group]
        )

    def _within(self, engine: sa.Engine, work: Callable[[sa.Connection], T]) -> T:
        if self._file is not None and identify(self._path) != self._file:
            # SQLite would go on writing to a file that nobody finds any more, or make
            # an empty one.
            raise FileGone
        with engine.connect() as connection, connection.begin():
            return work(connection)

    def _patiently(self, attempt: Callable[[], T]) -> T:
        deadline = time.monotonic() + self.patience
        pause = 0.01
        while True:
            over = self._closed or time.monotonic() > deadline
            try:
                return attempt()
            except FileGone:
                if over:
                    raise StateUnavailable("The file of the state is gone.") from None
            except OperationalError as error:
                if is_full(error, self._path):
                    raise StorageFull("The server has no room for this.") from error
                if over:
                    raise StateUnavailable(
                        "The state cannot be read or written now."
                    ) from error
            except DatabaseError as error:
                if type(error) is not DatabaseError:
                    # What was asked for is wrong, and not the database.
                    raise
                logger.error("The state is damaged: %s", error.orig)
                raise StateUnavailable("The state is damaged.") from error
            time.sleep(pause)
            pause = min(2 * pause, 0.25)


def _ignore(count: int, seconds: float) -> None:
    """
    Observe nothing.
    """


def _settle(ended: list[tuple[Pending, Any, BaseException | None]]) -> None:
    """
    Tell those that wait, with one call into each event loop.
    """
    loops: dict[asyncio.AbstractEventLoop, list[tuple[Pending, Any, BaseException | None]]] = {}
    for each in ended:
        loops.setdefault(each[0].loop, []).append(each)
    for loop, some in loops.items():
        # A loop that has closed has nobody in it who waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_tell, some)


def _tell(ended: list[tuple[Pending, Any, BaseException | None]]) -> None:
    for pending, result, error in ended:
        pending.settle(result, error)


@contextlib.contextmanager
def opened(url: str, *, patience: float = PATIENCE) -> Iterator[Database]:
    """
    Open the state at *url* for a moment.
    """
    database = Database(url, readers=1, patience=patience)
    try:
        yield database
    finally:
        database.close()
