"""
The database: one thread writes to it, and several read.

Each module of :mod:`fal_server.store` declares its tables on :data:`metadata`. A write is
a function of a connection. All writes that wait go into one transaction, so that many
small writes cost one commit; each returns when the transaction is durable.

Times in tables are seconds since the epoch, in UTC.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import attrs
import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError, SQLAlchemyError

from fal_server.errors import (
    STATE_TROUBLE,
    StateBroken,
    StateUnavailable,
    StorageFull,
    Unavailable,
)
from fal_server.state.database_urls import make_engines
from fal_server.state.engines import Doubt, NotThere, Trouble, Unusable, Write
from fal_server.state.migrations.layouts import migrate
from fal_server.state.prepared_statements import run_together

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: All tables of the server.
metadata = sa.MetaData()

#: Seconds to wait for a database that is locked or gone.
PATIENCE = 60.0

#: Seconds between two questions to a database whether it has committed what it was to.
_PAUSE = 1.0

#: The most writes in one transaction.
_GROUP = 512


class _Refused(Exception):
    """The fence has raised the argument."""


class Database:
    """
    A database, with one thread that writes, and *readers* threads that read.

    Attributes:
        fence: Called at the beginning of each transaction that writes. What it raises refuses
            all writes of that transaction but those that are not *fenced*.

        observe: Called after each transaction with the number of its writes and the
            seconds that it took.

        clock: Seconds by which its clock is ahead of this machine's, as far as was measured.

    Raises:
        DataTooNew: A newer version of the server has written it.

        StateBroken: It cannot be used.
    """

    def __init__(self, url: str, *, readers: int = 4, patience: float = PATIENCE) -> None:
        self.url = url
        self.patience = patience
        self.fence: Callable[[sa.Connection], None] = _allow
        self.observe: Callable[[int, float], None] = _ignore
        self.clock = 0.0
        self._engines = make_engines(url, readers=readers)
        self._readers = ThreadPoolExecutor(readers, "state-reader")
        self._queue: queue.SimpleQueue[Pending | None] = queue.SimpleQueue()
        self._doubtful = DoubtfulWrites()
        self._closed = False
        try:
            self._open()
        except BaseException:
            self._engines.dispose()
            raise
        self._thread = threading.Thread(target=self._write_all, name="state-writer")
        self._thread.start()

    @property
    def is_shared(self) -> bool:
        """Whether several servers may use it."""
        return self._engines.dialect == "postgresql"

    def now(self) -> float:
        """Return the time by its clock, for what other servers compare with theirs."""
        return time.time() + self.clock

    async def write(self, work: Callable[[sa.Connection], T], *, fenced: bool = True) -> T:
        """
        Run *work* in a transaction that writes, and return its result once that is
        durable.

        *work* may run more than once if the transaction is repeated, so that it must do
        nothing but use the connection. An exception rolls back this work alone.

        Arguments:
            fenced: Whether the fence has to let it pass.

        Raises:
            StorageFull: The disk is full.

            StateUnavailable: The database is damaged, or was locked or gone for too long, and
                nothing was written. As long as it has not said whether it has written, this
                waits.

            Unavailable: The database is closed.

            Exception: What *work* raised, or the fence.
        """
        if self._closed:
            raise Unavailable("The server is ending.")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._queue.put(Pending(work, loop, future, fenced))
        return await future

    async def read(self, work: Callable[[sa.Connection], T]) -> T:
        """
        Run *work* in a transaction that reads.

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
        """Do the same as :meth:`read`, in this thread."""
        return self._patiently(lambda: self._engines.read(work))

    def snapshot(self, work: Callable[[sa.Connection], T]) -> T:
        """
        Do the same as :meth:`read_here`, but once, and for as long as *work* takes.

        Raises:
            StateUnavailable: The database could not be read.
        """

        def keep_open_and_work(connection: sa.Connection) -> T:
            self._engines.keep_open(connection)
            return work(connection)

        try:
            return self._engines.read(keep_open_and_work)
        except NotThere as error:
            raise StateUnavailable(str(error)) from None
        except DatabaseError as error:
            if self._engines.trouble_of(error) is None:
                raise
            raise StateUnavailable(f"The database cannot be read: {error.orig}") from error

    def write_here(self, work: Callable[[sa.Connection], T], *, fenced: bool = True) -> T:
        """Do the same as :meth:`write`, in this thread."""

        write = self._engines.writer(self._alone(work, fenced))
        try:
            return self._patiently(write)
        except StateUnavailable as error:
            if write.doubt is None:
                raise
            raise StateUnavailable(
                "The database is gone, and has not said whether it has written this. Look when "
                "it is back, before you do it again."
            ) from error

    def close(self) -> None:
        """Finish the writes that wait, and close the database."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._thread.join()
        self._readers.shutdown()
        self._engines.dispose()

    def _open(self) -> None:
        """
        Make the tables, or change those of an earlier version, and wait while the database
        is locked or gone.

        Raises:
            DataTooNew: A newer version of the server has written it.

            StateBroken: It cannot be used.
        """
        engines, deadline = self._engines, time.monotonic() + self.patience

        def prepare(connection: sa.Connection) -> None:
            engines.lock(connection)
            migrate(connection)
            engines.tidy(connection)

        told = False
        while True:
            try:
                engines.writer(prepare)()
                return engines.watch()
            except Unusable as error:
                raise StateBroken(engines.shown, error.reason, error.remedy) from error
            except DatabaseError as error:
                found = engines.explain(error)
                if not engines.may_pass(error) or time.monotonic() > deadline:
                    raise StateBroken(engines.shown, found.reason, found.remedy) from error
                if not told:
                    logger.warning("Waiting for the state: %s", found.reason)
                told = True
            except NotThere:
                # It is asked again.
                pass
            time.sleep(0.1)

    def _write_all(self) -> None:
        ended = False
        while not ended:
            try:
                pending = self._queue.get(timeout=_PAUSE if self._doubtful else None)
            except queue.Empty:
                self._find_out()
                continue
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
            if self._doubtful:
                self._find_out()
        self._doubtful.end(Unavailable("The server is ending."))

    def _find_out(self) -> None:
        """Settle the writes of which it was not known whether they are committed, if it is now."""
        with contextlib.suppress(SQLAlchemyError):
            self._engines.find_out()
        self._doubtful.settle()

    def _write_group(self, group: list[Pending]) -> None:
        """Do the writes of *group* in one transaction, or each in its own if one of them fails."""
        if len(group) > 1:
            write = self._engines.writer(self._together(group))
            try:
                results = self._patiently(write)
            except (Unavailable, *STATE_TROUBLE) as error:
                self._give_up(write, group, error)
                return
            except _Refused as refusal:
                settle([(each, None, refusal.args[0]) for each in group if each.fenced])
                others = [each for each in group if not each.fenced]
                if others:
                    self._write_group(others)
                return
            except Exception:
                # One of the writes failed. Each is repeated in a transaction of its own.
                pass
            else:
                settle([(each, it, None) for each, it in zip(group, results, strict=True)])
                return
        for pending in group:
            alone = self._engines.writer(self._alone(pending.work, pending.fenced))
            try:
                result = self._patiently(alone)
            except Exception as error:
                self._give_up(alone, [pending], error)
            else:
                settle([(pending, result, None)])

    def _give_up(self, write: Write[Any], group: Sequence[Pending], error: Exception) -> None:
        if write.doubt is not None:
            self._doubtful.add(write.doubt, group)
        else:
            settle([(each, None, error) for each in group])

    def _alone(
        self, work: Callable[[sa.Connection], T], fenced: bool
    ) -> Callable[[sa.Connection], T]:
        def pass_and_work(connection: sa.Connection) -> T:
            if fenced:
                self.fence(connection)
            return work(connection)

        return pass_and_work

    def _together(self, group: list[Pending]) -> Callable[[sa.Connection], list[Any]]:
        def work(connection: sa.Connection) -> list[Any]:
            if any(each.fenced for each in group):
                self._pass(connection)
            return run_together(connection, [each.work for each in group])

        return work

    def _pass(self, connection: sa.Connection) -> None:
        try:
            self.fence(connection)
        except DatabaseError:
            # The database is not there to be asked.
            raise
        except Exception as error:
            raise _Refused(error) from error

    def _patiently(self, attempt: Callable[[], T]) -> T:
        deadline = time.monotonic() + self.patience
        pause = 0.01
        while True:
            over = self._closed or time.monotonic() > deadline
            try:
                return attempt()
            except NotThere as error:
                if over:
                    raise StateUnavailable(str(error)) from None
            except DatabaseError as error:
                trouble = self._engines.trouble_of(error)
                if trouble is None:
                    # The statement is wrong, and not the database.
                    raise
                if trouble is Trouble.FULL:
                    raise StorageFull("The disk of the server is full.") from error
                if trouble is Trouble.DAMAGED:
                    logger.error("The database is damaged: %s", error.orig)
                    raise StateUnavailable("The database is damaged.") from error
                if over:
                    logger.error("The database cannot be used: %s", error.orig)
                    raise StateUnavailable(
                        "The database cannot be read or written at present."
                    ) from error
            time.sleep(pause)
            pause = min(2 * pause, 0.25)


def _allow(connection: sa.Connection) -> None:
    """Let every transaction pass."""


def _ignore(count: int, seconds: float) -> None:
    """Do nothing after a transaction."""


@contextlib.contextmanager
def open_database(url: str, *, patience: float = PATIENCE) -> Iterator[Database]:
    """Open the database at *url* within a context."""
    database = Database(url, readers=1, patience=patience)
    try:
        yield database
    finally:
        database.close()


@attrs.define(eq=False)
class Pending:
    """A write that waits, and the future of its caller."""

    work: Callable[[sa.Connection], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    fenced: bool = True

    def settle(self, result: Any, error: BaseException | None) -> None:
        """Set the future, in its event loop."""
        if self.future.done():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


def settle(ended: Sequence[tuple[Pending, Any, BaseException | None]]) -> None:
    """Settle writes, with one call into each event loop."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[Pending, Any, BaseException | None]]] = {}
    for each in ended:
        loops.setdefault(each[0].loop, []).append(each)
    for loop, some in loops.items():
        # In a closed event loop nobody waits any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_tell, some)


def _tell(ended: list[tuple[Pending, Any, BaseException | None]]) -> None:
    for pending, result, error in ended:
        pending.settle(result, error)


@attrs.define(eq=False)
class DoubtfulWrites:
    """
    Writes in transactions of which nobody has said whether they are committed. Their callers
    wait until that is known: who is told that something is not written may do it anew.
    """

    _groups: list[tuple[Doubt[Any], Sequence[Pending]]] = attrs.field(factory=list)

    def __bool__(self) -> bool:
        return bool(self._groups)

    def add(self, doubt: Doubt[Any], group: Sequence[Pending]) -> None:
        """
        Add the writes of one transaction. Its result is that of one write, or a list of those
        of several.
        """
        self._groups.append((doubt, group))

    def settle(self) -> None:
        """Settle those of which it is known by now."""
        left = []
        for doubt, group in self._groups:
            if doubt.is_committed is None:
                left.append((doubt, group))
            elif doubt.is_committed:
                results = [doubt.result] if len(group) == 1 else doubt.result
                settle([(each, it, None) for each, it in zip(group, results, strict=True)])
            else:
                error = StateUnavailable("The database was lost before it was written.")
                settle([(each, None, error) for each in group])
        self._groups = left

    def end(self, error: BaseException) -> None:
        """Settle all with an error: nobody finds out any more."""
        for _, group in self._groups:
            settle([(each, None, error) for each in group])
        self._groups.clear()
