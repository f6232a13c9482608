"""Restoring: a server made of a backup, with any kind of database."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import attrs
import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from fal_core.caches import new_file
from fal_server.access.server_keys import ServerKeys
from fal_server.backups.archives import ArchiveReader
from fal_server.backups.referenced_files import BODIES, CONTENTS
from fal_server.backups.table_rows import write_part
from fal_server.errors import DataTooNew, ServerError
from fal_server.settings import ServerSettings
from fal_server.state.data_directories import DataDirectory
from fal_server.state.database_urls import make_engines
from fal_server.state.databases import Database
from fal_server.state.engines import Engines, NotThere, Unusable
from fal_server.state.file_stores import FileStore, translated
from fal_server.state.migrations.layouts import LAYOUT, find_layout, migrate
from fal_server.state.opened_stores import open_files

#: What may be in a data directory into which a backup is restored.
_NOTHING = frozenset({"lock"})

#: Tables of the servers that run, and of none that is made of a backup.
_OF_RUNNING = frozenset({"claims", "commit_marks", "replicas"})

#: The file of the database, and those beside it.
_FILES = ("state.db", "state.db-wal", "state.db-shm")


@attrs.define
class _Restored:
    rows: int = 0
    files: int = 0
    keys: dict[str, bytes] = attrs.field(factory=dict)


def restore_backup(settings: ServerSettings, path: Path) -> tuple[int, int]:
    """
    Make a server of a backup, and return how many rows and files it has.

    The runners of the server that it is a copy of stay that server's.

    Raises:
        ServerError: The backup cannot be used, or there is a server already.
    """
    directory = DataDirectory(settings.data)
    with directory.locked(), _opened(path) as archive:
        found = set(os.listdir(directory.path)) - _NOTHING
        if found:
            raise ServerError(
                f"{directory.path} has the data of a server already. Restore into an empty "
                "directory, which '--data' names."
            )
        if archive.head.layout > LAYOUT:
            raise DataTooNew(archive.head.layout, LAYOUT)
        store = open_files(settings.files, directory.path)
        try:
            if settings.database is None:
                directory.make_private("state.db")
            restored = _restore_state(settings.database_url, archive, store)
        except BaseException:
            if settings.database is None:
                for name in _FILES:
                    (directory.path / name).unlink(missing_ok=True)
            raise
        _write_keys(settings, directory, restored)
    return restored.rows, restored.files


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[ArchiveReader]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise ServerError(f"{path} cannot be read: {error.strerror}.") from error
    with file:
        archive = ArchiveReader(file, str(path))
        try:
            yield archive
        finally:
            archive.close()


def _restore_state(url: str, archive: ArchiveReader, store: FileStore) -> _Restored:
    engines = make_engines(url, readers=1)
    try:
        # The archive is read once, so that nothing is tried again.
        return engines.writer(_make_work(engines, archive, store))()
    except Unusable as error:
        raise ServerError(
            f"No state can be kept at {engines.shown}: {error.reason}. {error.remedy}."
        ) from error
    except NotThere as error:
        raise ServerError(str(error)) from error
    except DatabaseError as error:
        told = engines.explain(error)
        raise ServerError(
            f"The backup cannot be restored into {engines.shown}: {told.reason}. {told.remedy}."
        ) from error
    finally:
        engines.dispose()


def _make_work(
    engines: Engines, archive: ArchiveReader, store: FileStore
) -> Callable[[sa.Connection], _Restored]:
    def work(connection: sa.Connection) -> _Restored:
        engines.lock(connection)
        engines.keep_open(connection)
        if find_layout(connection) is not None:
            raise ServerError(
                f"{engines.shown} has the state of a server already. Restore into an empty "
                "database, which '--database' names."
            )
        # As the server had them that made the backup, and then as this version has them.
        migrate(connection, archive.head.layout)
        restored = _Restored()
        tables: dict[str, sa.Table] = {}
        for name, pieces in archive.members():
            kind, _, rest = name.partition("/")
            if kind == "keys":
                restored.keys[rest] = b"".join(pieces)
            elif kind == "files":
                _put(store, rest, pieces)
                restored.files += 1
            elif kind == "tables" and (of := rest.partition("/")[0]) not in _OF_RUNNING:
                table = _find_table(connection, tables, of)
                restored.rows += write_part(connection, table, b"".join(pieces))
        _part_from_runners(connection)
        migrate(connection)
        return restored

    return work


def _find_table(connection: sa.Connection, known: dict[str, sa.Table], name: str) -> sa.Table:
    if name not in known:
        try:
            known[name] = sa.Table(
                name, sa.MetaData(), autoload_with=connection, resolve_fks=False
            )
        except sa.exc.NoSuchTableError:
            raise ServerError(f"The backup has rows of an unknown table {name!r}.") from None
    return known[name]


def _put(store: FileStore, name: str, pieces: Iterable[bytes]) -> None:
    parts = name.split("/")
    if parts[0] not in (CONTENTS, BODIES) or not all(part.strip(".") for part in parts):
        raise ServerError(f"The backup has a file {name!r}, which is none of a server.")
    with new_file(store.place_of(name)) as written:
        with translated(), open(written, "wb") as file:
            for piece in pieces:
                file.write(piece)
        store.put(written, name)


def _part_from_runners(connection: sa.Connection) -> None:
    """Have no runner go on: those that do are another server's."""
    runners = sa.table("runners", sa.column("ended_at"))
    ended = runners.update().where(runners.c.ended_at.is_(None))
    connection.execute(ended.values(ended_at=time.time()))


def _write_keys(
    settings: ServerSettings, directory: DataDirectory, restored: _Restored
) -> None:
    database = Database(settings.database_url, readers=1)
    try:
        ServerKeys(database, directory, settings.secrets_key).write_all(restored.keys)
    finally:
        database.close()
