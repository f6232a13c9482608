"""
Servers of PostgreSQL, where the state is kept that outlives a machine.

A transaction that writes does not exclude others: what reads before it writes locks the rows
that it has read, or has the database refuse a second row of the same key.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sa
from psycopg.types.string import StrDumper
from sqlalchemy.exc import DatabaseError, InterfaceError, OperationalError

from fal_server.state.engines import Doubt, Engines, Trouble, Unusable, Write
from fal_server.state.texts import CASES

T = TypeVar("T")

#: The oldest version that is used.
_OLDEST = 13

#: What all connections have unless the URL says otherwise. A server that is gone without a
#: word is noticed after some seconds.
_CONNECTING = {
    "application_name": "fal-server",
    "client_encoding": "utf8",
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}

#: A server that stalls within a transaction holds up no one, and what is accepted is on disk.
_SETTINGS = """
SELECT set_config('idle_in_transaction_session_timeout', '15s', false),
    set_config('lock_timeout', '5s', false),
    set_config(name, replace(setting, 'off', 'on'), false)
    FROM pg_settings WHERE name = 'synchronous_commit'
"""

#: Any number that no other program takes: the lock of those who change tables.
_TABLES = 0x66616C_01

#: Leaves a mark, unless nothing was written, and reads the last one, once no transaction is
#: under way that may leave another.
_MARK = """
INSERT INTO commit_marks (writer, mark, marked_at)
    SELECT %s, %s, extract(epoch FROM clock_timestamp())
    WHERE pg_current_xact_id_if_assigned() IS NOT NULL
    ON CONFLICT (writer) DO UPDATE SET mark = excluded.mark, marked_at = excluded.marked_at
    RETURNING 1
"""
_LAST = """
INSERT INTO commit_marks (writer, mark, marked_at)
    VALUES (%s, '', extract(epoch FROM clock_timestamp()))
    ON CONFLICT (writer) DO UPDATE SET marked_at = excluded.marked_at
    RETURNING mark
"""

#: Removes marks of servers and commands that have written nothing for a month.
_TIDY = """
DELETE FROM commit_marks
    WHERE marked_at < extract(epoch FROM clock_timestamp() - interval '30 days')
"""

#: Codes of errors after which it may be as before in a moment: connections that are lost or
#: too many, transactions that were in each other's way, and a server that starts, ends, or
#: is not the first of its cluster any more.
_PASSING = frozenset({"40001", "40P01", "55006", "55P03", "25006", "25P03", "58000", "58030"})
_PASSING_CLASSES = frozenset({"08", "53", "57"})
_FULL = "53100"
_DAMAGED = frozenset({"XX001", "XX002"})
_REFUSING = frozenset({"3D000", "42501"})
_REFUSING_CLASS = "28"

#: What the messages of refusals to connect are like, which have no codes, and what to do.
_REFUSALS = {
    r"password authentication failed|no password supplied": "Write its password into the URL",
    r"no pg_hba\.conf entry": "Let that user in, in the file pg_hba.conf of the server",
    r"permission denied|must be owner": "Grant that user what is missing",
    r'role ".*" does not exist': "Create that user, or name another in the URL",
    r'database ".*" does not exist': "Create it by 'createdb', or name another in the URL",
}

_READABLE_NULL = "\N{SYMBOL FOR NULL}"


class PostgreSQLServer(Engines):
    """The connections to a database on a server of PostgreSQL."""

    dialect = "postgresql"

    def __init__(self, url: sa.URL, *, readers: int) -> None:
        url = url.set(drivername="postgresql+psycopg")
        super().__init__(
            url, _make_engine(url, pool=1), _make_engine(url, pool=readers, reads=True)
        )
        self._name = secrets.token_hex(8)
        # That of the last write. It changes only while the connection that writes is held.
        self._doubt: Doubt[Any] | None = None

    def trouble_of(self, error: DatabaseError) -> Trouble | None:
        code = getattr(error.orig, "sqlstate", None)
        if code is None:
            is_lost = isinstance(error, OperationalError | InterfaceError)
            if not (is_lost or error.connection_invalidated):
                return None
            return Trouble.REFUSED if _find_remedy(error) else Trouble.WAIT
        if code == _FULL:
            return Trouble.FULL
        if code in _PASSING or code[:2] in _PASSING_CLASSES:
            return Trouble.WAIT
        if code in _DAMAGED:
            return Trouble.DAMAGED
        return Trouble.REFUSED if code in _REFUSING or code[:2] == _REFUSING_CLASS else None

    def explain(self, error: DatabaseError) -> Unusable:
        remedy = _find_remedy(error)
        if remedy is None and self.trouble_of(error) is Trouble.WAIT:
            remedy = "Start PostgreSQL there, or name another database by '--database'"
        return Unusable(_to_line(error), remedy or "Name another database by '--database'")

    def lock(self, connection: sa.Connection) -> None:
        version = int(connection.exec_driver_sql("SHOW server_version_num").scalar_one())
        if version < _OLDEST * 10_000:
            raise Unusable(
                f"it is PostgreSQL {version // 10_000}, and {_OLDEST} is the oldest that is "
                "used",
                "Upgrade it",
            )
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
        if encoding != "UTF8":
            raise Unusable(
                f"its encoding is {encoding}",
                "Create one by 'createdb --encoding UTF8 --template template0'",
            )
        found = "SELECT FROM pg_collation WHERE collname = %s"
        if connection.exec_driver_sql(found, (CASES,)).first() is None:
            raise Unusable("it was built without ICU", "Use one that was built with it")
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (_TABLES,)).close()

    def writer(self, work: Callable[[sa.Connection], T]) -> Write[T]:
        def attempt(write: Write[T]) -> T:
            with self.writing.connect() as connection:
                self._ask(connection)
                doubt, write.doubt = write.doubt, None
                if doubt is not None and doubt.is_committed:
                    return doubt.result
                with connection.begin():
                    result, mark = work(connection), secrets.token_hex(8)
                    if connection.exec_driver_sql(_MARK, (self._name, mark)).first():
                        self._doubt = write.doubt = Doubt(mark, result)
                self._doubt = write.doubt = None
                return result

        return Write(attempt)

    def find_out(self) -> None:
        with self.writing.connect() as connection:
            self._ask(connection)

    def tidy(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql(_TIDY).close()

    def _ask(self, connection: sa.Connection) -> None:
        doubt = self._doubt
        if doubt is None:
            return
        with connection.begin():
            last = connection.exec_driver_sql(_LAST, (self._name,)).scalar()
        doubt.is_committed, self._doubt = last == doubt.mark, None

    def keep_open(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0").close()

    def watch(self) -> None:
        """Do nothing: the server sees to its files."""


class _Texts(StrDumper):
    """Sends texts as PostgreSQL takes them: without zero bytes and halves of surrogate pairs."""

    def dump(self, obj: str) -> Any:
        if "\0" in obj:
            obj = obj.replace("\0", _READABLE_NULL)
        return obj.encode("utf-8", "replace")


def _make_engine(url: sa.URL, *, pool: int, reads: bool = False) -> sa.Engine:
    given = {name: value for name, value in _CONNECTING.items() if name not in url.query}
    # What is stale in the pool is found at its use, and replaced.
    engine = sa.create_engine(url, pool_size=pool, max_overflow=0, connect_args=given)

    def connect(connection: psycopg.Connection[Any], _: object) -> None:
        connection.adapters.register_dumper(str, _Texts)
        connection.execute(_SETTINGS)
        connection.commit()
        if reads:
            # All statements of a transaction see the same moment.
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True

    sa.event.listen(engine, "connect", connect)
    return engine


def _find_remedy(error: DatabaseError) -> str | None:
    text = str(error.orig)
    found = (remedy for pattern, remedy in _REFUSALS.items() if re.search(pattern, text))
    return next(found, None)


def _to_line(error: DatabaseError) -> str:
    """Return the message of an error in one line, without what led to it."""
    text = " ".join(str(error.orig).split())
    for prefix in ("FATAL: ", "ERROR: "):
        text = text.rpartition(prefix)[2]
    return text.strip().rstrip(".")
