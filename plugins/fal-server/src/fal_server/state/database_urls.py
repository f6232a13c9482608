"""URLs of databases: which kind of database each names."""

from __future__ import annotations

import sqlalchemy as sa

from fal_server.errors import ServerError
from fal_server.state.engines import Engines
from fal_server.state.sqlite_files import SQLiteFile


def make_engines(url: str, *, readers: int) -> Engines:
    """
    Return the engines of the database at *url*.

    Arguments:
        readers: How many connections read.

    Raises:
        ServerError: *url* names no database that can be used here.
    """
    try:
        parsed = sa.engine.make_url(url)
    except sa.exc.ArgumentError:
        # The text may contain a password, and cannot be parsed to leave it out.
        raise ServerError(
            "The value of '--database' is not the URL of a database. Write one as in "
            "'sqlite:////srv/state.db' or 'postgresql://name@host/state'."
        ) from None
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        return SQLiteFile(parsed, readers=readers)
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        try:
            from fal_server.state.postgresql_servers import PostgreSQLServer
        except ImportError as error:
            raise ServerError(
                f"PostgreSQL needs psycopg, which cannot be imported here: {error}. Install it "
                "by \"pip install 'fal-core[server-postgresql]'\"."
            ) from None

        return PostgreSQLServer(parsed, readers=readers)
    raise ServerError(
        f"The state cannot be kept in a database of kind {parsed.drivername!r}. The URL begins "
        "with 'sqlite:' or 'postgresql:', as in 'postgresql://name@host/state'."
    )


def is_file(url: str) -> bool:
    """Return whether a URL is that of SQLite, whose file belongs to one machine."""
    return url.startswith("sqlite")
