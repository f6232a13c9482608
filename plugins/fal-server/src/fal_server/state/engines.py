"""
Databases: connections to them, and what their errors say.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from fal_server.errors import ServerError

#: What SQLite says of a full disk, of one that fails, and of a database that another
#: process holds.
_FULL, _IO, _LOCKED = 13, 10, (5, 6)

#: A disk with less room than this, in bytes, is full: SQLite does not always say so.
_ROOM = 64 * 1024


class FileGone(Exception):
    """
    The file that was opened is not there, or another one is.
    """


def make_engine(url: str, *, begin: str, pool: int) -> sa.Engine:
    """
    Make an engine of *pool* connections whose transactions start with *begin*, where
    the database is SQLite.

    Raises:
        ServerError: *url* names no database that can be used here.
    """
    if not url.startswith("sqlite"):
        return _make_other(url, pool)
    engine = sa.create_engine(
        url,
        poolclass=sa.QueuePool,
        pool_size=pool,
        max_overflow=0,
        connect_args={"timeout": 0.1, "check_same_thread": False},
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


def _make_other(url: str, pool: int) -> sa.Engine:
    try:
        parsed = sa.engine.make_url(url)
    except sa.exc.ArgumentError:
        # It may hold a password, which cannot be told from the rest.
        raise ServerError(
            "What '--database' gives is no URL of a database. Write one as in "
            "'sqlite:////srv/state.db'."
        ) from None
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
    Tell whether another process holds a database of SQLite.
    """
    return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _LOCKED


def path_of(engine: sa.Engine) -> str | None:
    """
    Return the file of a database of SQLite, None where it is none.
    """
    database = engine.url.database
    if engine.dialect.name != "sqlite" or not database or database == ":memory:":
        return None
    return os.path.abspath(database)


def identify(path: str | None) -> tuple[int, int] | None:
    """
    Return what tells a file from another of the same name, None where there is none.
    """
    try:
        found = os.stat(path or "")
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_full(error: DatabaseError, path: str | None) -> bool:
    """
    Tell whether there is no room.

    Arguments:
        path: The file of the database, None where it is none.
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
    A statement that is compiled once, and changes rows.

    To have SQLAlchemy execute it takes longer than SQLite takes to run it. Its values are
    given to the driver as they are, without what the types of their columns make of them.
    """

    def __init__(self, statement: sa.UpdateBase) -> None:
        self._statement = statement
        self._compiled: dict[str, tuple[str, Sequence[str] | None, Mapping[str, Any]]] = {}

    def run(self, connection: sa.Connection, values: Mapping[str, Any]) -> int:
        """
        Run it, and return how many rows it has changed.
        """
        dialect = connection.dialect
        if dialect.name not in self._compiled:
            compiled = self._statement.compile(dialect=dialect)
            order = compiled.positiontup if compiled.positional else None
            self._compiled[dialect.name] = str(compiled), order, compiled.params
        text, names, constants = self._compiled[dialect.name]
        given = {**constants, **values}
        parameters = given if names is None else tuple([given[name] for name in names])
        return connection.exec_driver_sql(text, parameters).rowcount
