"""
Engines: connections to a database, and the meaning of its errors.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from fal_server.errors import ServerError

#: The error codes of SQLite for a full disk, for a failing one, and for a locked database.
_FULL, _IO, _LOCKED = 13, 10, (5, 6)

#: A disk with fewer free bytes is full. SQLite reports some such failures as I/O errors.
_ROOM = 64 * 1024


class FileGone(Exception):
    """
    The file that was opened is gone, or was replaced by another.
    """


def make_engine(url: str, *, begin: str, pool: int) -> sa.Engine:
    """
    Make an engine with *pool* connections. Transactions of SQLite start with *begin*.

    Raises:
        ServerError: *url* names no database that can be used here.
    """
    if not is_file(url):
        return _make_other(url, pool)
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


def _make_other(url: str, pool: int) -> sa.Engine:
    try:
        parsed = sa.engine.make_url(url)
    except sa.exc.ArgumentError:
        # The text may contain a password, and cannot be parsed to leave it out.
        raise ServerError(
            "The value of '--database' is not the URL of a database. Write one as in "
            "'sqlite:////srv/state.db'."
        ) from None
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    try:
        return sa.create_engine(parsed, pool_size=pool, max_overflow=0, pool_pre_ping=True)
    except sa.exc.NoSuchModuleError:
        raise ServerError(
            f"No kind of database is called {parsed.drivername!r}. The URL begins with one "
            "that SQLAlchemy knows, as in 'sqlite:////srv/state.db'."
        ) from None
    except ImportError as error:
        raise ServerError(
            f"A database of kind {parsed.drivername!r} needs the module {error.name!r}, "
            "which is not installed where the server runs. Install what brings it."
        ) from None


def is_locked(error: DatabaseError) -> bool:
    """
    Return whether another process has locked the SQLite database.
    """
    return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _LOCKED


def is_file(url: str) -> bool:
    """
    Return whether a URL is that of SQLite, whose file belongs to one machine.
    """
    return url.startswith("sqlite")


def path_of(engine: sa.Engine) -> str | None:
    """
    Return the file of an SQLite database. None for any other.
    """
    database = engine.url.database
    if engine.dialect.name != "sqlite" or not database or database == ":memory:":
        return None
    return os.path.abspath(database)


def identify(path: str | None) -> tuple[int, int] | None:
    """
    Return the device and the inode of a file. None where there is no file.
    """
    try:
        found = os.stat(path or "")
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_full(error: DatabaseError, path: str | None) -> bool:
    """
    Return whether the disk is full.

    Arguments:
        path: The file of the database. None where it is not SQLite.
    """
    code = getattr(error.orig, "sqlite_errorcode", 0)
    if code & 0xFF == _FULL:
        return True
    if code & 0xFF != _IO or path is None:
        return False
    found = os.statvfs(os.path.dirname(path))
    return bool(found.f_bavail * found.f_frsize < _ROOM)


class Prepared:
    """
    A statement that changes or reads rows, and is compiled only once.

    SQLAlchemy takes longer to prepare a statement than SQLite takes to run it. The values
    go to the driver as they are, without the conversions of their column types.
    """

    def __init__(self, statement: sa.UpdateBase | sa.Select[Any]) -> None:
        self._statement = statement
        self._compiled: dict[str, tuple[str, Sequence[str] | None, Mapping[str, Any]]] = {}

    def run(self, connection: sa.Connection, values: Mapping[str, Any]) -> int:
        """
        Execute it, and return how many rows it changed.
        """
        return self._execute(connection, values).rowcount

    def first(self, connection: sa.Connection, values: Mapping[str, Any]) -> Any:
        """
        Execute it, and return the first value of the first row that it reads, if any.
        """
        return self._execute(connection, values).scalar()

    def _execute(
        self, connection: sa.Connection, values: Mapping[str, Any]
    ) -> sa.CursorResult[Any]:
        dialect = connection.dialect
        if dialect.name not in self._compiled:
            compiled = self._statement.compile(dialect=dialect)
            order = compiled.positiontup if compiled.positional else None
            self._compiled[dialect.name] = str(compiled), order, compiled.params
        text, names, constants = self._compiled[dialect.name]
        given = {**constants, **values}
        parameters = given if names is None else tuple([given[name] for name in names])
        return connection.exec_driver_sql(text, parameters)
