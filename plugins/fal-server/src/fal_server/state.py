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
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import attrs
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from fal_server.errors import DataTooNew, Unavailable

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


class Store:
    """
    A database, with one thread that writes and *readers* that read.

    Attributes:
        observe: Told of each transaction: how many writes were in it, and how many
            seconds it took.

    Raises:
        DataTooNew: A newer version has written it.
    """

    def __init__(self, url: str, *, readers: int = 4, patience: float = PATIENCE) -> None:
        self.url = url
        self.patience = patience
        self.observe: Callable[[int, float], None] = _ignore
        self._writing = _make_engine(url, begin="BEGIN IMMEDIATE", pool=1)
        self._reading = _make_engine(url, begin="BEGIN", pool=readers)
        self._readers = ThreadPoolExecutor(readers, "state-reader")
        self._queue: queue.SimpleQueue[Pending | None] = queue.SimpleQueue()
        self._closed = False
        self._make_tables()
        self._thread = threading.Thread(target=self._write_all, name="state-writer")
        self._thread.start()

    async def write(self, work: Callable[[sa.Connection], T]) -> T:
        """
        Run *work* with a connection that writes, and return what it returns once that
        is durable.

        It may be run more than once, where a transaction has to be repeated: it does
        nothing but use the connection. What it raises undoes it, and nothing else.

        Raises:
            Unavailable: The database was locked or gone for too long.
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
            Unavailable: The database was locked or gone for too long.
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
        metadata.create_all(self._writing)

        def check(connection: sa.Connection) -> None:
            found = connection.scalar(sa.select(layouts.c.version))
            if found is None:
                connection.execute(layouts.insert().values(version=LAYOUT))
            elif found > LAYOUT:
                raise DataTooNew(found, LAYOUT)

        try:
            self.write_here(check)
        except BaseException:
            self._writing.dispose()
            raise

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
            except Unavailable as error:
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
        with engine.connect() as connection, connection.begin():
            return work(connection)

    def _patiently(self, attempt: Callable[[], T]) -> T:
        deadline = time.monotonic() + self.patience
        pause = 0.01
        while True:
            try:
                return attempt()
            except OperationalError as error:
                if not _passes(error) or self._closed or time.monotonic() > deadline:
                    raise Unavailable("The state cannot be read or written now.") from error
            time.sleep(pause)
            pause = min(2 * pause, 1.0)


def _ignore(count: int, seconds: float) -> None:
    """
    Observe nothing.
    """


def _passes(error: OperationalError) -> bool:
    """
    Tell whether waiting may help: a full disk is told at once.
    """
    full = getattr(sqlite3, "SQLITE_FULL", 13)
    return getattr(error.orig, "sqlite_errorcode", None) != full


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


def _make_engine(url: str, *, begin: str, pool: int) -> sa.Engine:
    """
    Make an engine of *pool* connections whose transactions start with *begin*, where
    the database is SQLite.
    """
    if not url.startswith("sqlite"):
        return sa.create_engine(url, pool_size=pool, max_overflow=0, pool_pre_ping=True)
    engine = sa.create_engine(
        url,
        poolclass=sa.QueuePool,
        pool_size=pool,
        max_overflow=0,
        connect_args={"timeout": 1.0, "check_same_thread": False},
    )

    def connect(connection: sqlite3.Connection, _: object) -> None:
        # Python would begin and commit by itself; SQLAlchemy does.
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}").close()

    def start(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    sa.event.listen(engine, "connect", connect)
    sa.event.listen(engine, "begin", start)
    return engine


@contextlib.contextmanager
def opened(url: str, *, patience: float = PATIENCE) -> Iterator[Store]:
    """
    Open the state at *url* for a moment.
    """
    store = Store(url, readers=1, patience=patience)
    try:
        yield store
    finally:
        store.close()
