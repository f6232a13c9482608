"""Files of SQLite: where the state is kept unless another database is named."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError, OperationalError

from fal_server.state.engines import Engines, NotThere, Trouble, Unusable, Write

T = TypeVar("T")

#: The error codes of SQLite for a full disk, for a failing one, and for a locked database.
_FULL, _IO, _LOCKED = 13, 10, (5, 6)

#: A disk with fewer free bytes is full. SQLite reports some such failures as I/O errors.
_ROOM = 64 * 1024


class SQLiteFile(Engines):
    """The connections to a file of SQLite. Each transaction that writes excludes all others."""

    dialect = "sqlite"

    def __init__(self, url: sa.URL, *, readers: int) -> None:
        super().__init__(
            url,
            _make_engine(url, begin="BEGIN IMMEDIATE", pool=1),
            _make_engine(url, begin="BEGIN", pool=readers),
        )
        self.path = path_of(url)
        self._file: tuple[int, int] | None = None

    def trouble_of(self, error: DatabaseError) -> Trouble | None:
        if isinstance(error, OperationalError):
            return Trouble.FULL if _is_full(error, self.path) else Trouble.WAIT
        return Trouble.DAMAGED if type(error) is DatabaseError else None

    def explain(self, error: DatabaseError) -> Unusable:
        return Unusable(
            str(error.orig), "Put a copy of it there, or use another data directory"
        )

    def may_pass(self, error: DatabaseError) -> bool:
        return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _LOCKED

    def lock(self, connection: sa.Connection) -> None:
        """Do nothing: the transaction has locked the whole file."""

    def writer(self, work: Callable[[sa.Connection], T]) -> Write[T]:
        def attempt(_: Write[T]) -> T:
            self._check()
            with self.writing.connect() as connection, connection.begin():
                return work(connection)

        return Write(attempt)

    def find_out(self) -> None:
        """Do nothing: a file says at once whether something is written."""

    def tidy(self, connection: sa.Connection) -> None:
        """Do nothing: nothing is left."""

    def read(self, work: Callable[[sa.Connection], T]) -> T:
        self._check()
        return super().read(work)

    def keep_open(self, connection: sa.Connection) -> None:
        """Do nothing: it may."""

    def watch(self) -> None:
        if self.path is not None:
            self._file = identify(self.path)

    def _check(self) -> None:
        if self._file is not None and identify(self.path) != self._file:
            # SQLite would write on to the file that was removed, or make an empty one.
            raise NotThere("The file of the database is gone.")


def path_of(url: sa.URL) -> str | None:
    """Return the path of the file. None for a database in memory."""
    database = url.database
    return None if not database or database == ":memory:" else os.path.abspath(database)


def identify(path: str | None) -> tuple[int, int] | None:
    """Return the device and the inode of a file. None where there is no file."""
    try:
        found = os.stat(path or "")
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _make_engine(url: sa.URL, *, begin: str, pool: int) -> sa.Engine:
    engine = sa.create_engine(
        url,
        poolclass=sa.QueuePool,
        pool_size=pool,
        max_overflow=0,
        connect_args={"timeout": 0.1, "check_same_thread": False},
    )

    def connect(connection: sqlite3.Connection, _: object) -> None:
        # SQLAlchemy begins and commits, and the driver must not.
        connection.isolation_level = None
        # That of SQLite leaves all letters but those of ASCII as they are.
        connection.create_function("lower", 1, str.lower, deterministic=True)
        # Older versions of SQLite have none.
        connection.create_function("octet_length", 1, _octet_length, deterministic=True)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}").close()

    def start(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    sa.event.listen(engine, "connect", connect)
    sa.event.listen(engine, "begin", start)
    return engine


def _octet_length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _is_full(error: DatabaseError, path: str | None) -> bool:
    code = getattr(error.orig, "sqlite_errorcode", 0)
    if code & 0xFF == _FULL:
        return True
    if code & 0xFF != _IO or path is None:
        return False
    found = os.statvfs(os.path.dirname(path))
    return bool(found.f_bavail * found.f_frsize < _ROOM)
