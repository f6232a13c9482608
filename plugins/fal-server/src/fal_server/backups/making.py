"""Making backups, of a server that runs or not."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import IO

import attrs
import sqlalchemy as sa

from fal_server.access.server_keys import ServerKeys
from fal_server.backups.archives import ArchiveWriter, Head
from fal_server.backups.referenced_files import find_referenced
from fal_server.backups.table_rows import read_parts
from fal_server.errors import ServerError
from fal_server.state.databases import Database, metadata
from fal_server.state.file_stores import FileStore
from fal_server.state.migrations.layouts import LAYOUT

#: How often it is begun anew because files were removed meanwhile.
_TRIES = 5


@attrs.frozen(kw_only=True)
class Made:
    """
    What is in a backup.

    Attributes:
        missing: How many files the state names that are not there.
    """

    rows: int
    files: int
    missing: int
    size: int


def make_backup(database: Database, store: FileStore, keys: ServerKeys, path: Path) -> Made:
    """
    Write a backup to *path*, which must not exist.

    All tables are as they were at one moment, and with them are the files that they named
    then. What runs goes on meanwhile.

    Raises:
        ServerError: The file exists, or cannot be written.

        StateUnavailable: The state could not be read.
    """
    aside = path.with_name(f".{path.name}.part")
    try:
        if path.exists():
            raise ServerError(f"{path} exists already. Name a new file.")
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                made = _Making(database, store, keys).run(file)
                file.flush()
                os.fsync(file.fileno())
            os.link(aside, path)
        finally:
            aside.unlink()
    except FileExistsError:
        raise ServerError(f"{path} exists already. Name a new file.") from None
    except OSError as error:
        raise ServerError(f"The backup {path} cannot be made: {error.strerror}.") from error
    return attrs.evolve(made, size=path.stat().st_size)


@attrs.define
class _Making:
    database: Database
    store: FileStore
    keys: ServerKeys
    copied: set[str] = attrs.field(factory=set)

    def run(self, file: IO[bytes]) -> Made:
        archive = ArchiveWriter(file, Head(layout=LAYOUT))
        for name, content in self.keys.read_all().items():
            archive.add(f"keys/{name}", content)
        # Most files are copied before the moment that counts.
        self._copy(archive, self.database.read_here(find_referenced))
        rows, missing = None, 0
        for left in reversed(range(_TRIES)):

            def read(connection: sa.Connection, left: int = left) -> tuple[int | None, int]:
                missing = self._copy(archive, find_referenced(connection))
                if missing and left:
                    # They were removed since, and so a later moment does not name them.
                    return None, missing
                return self._add_tables(archive, connection), missing

            rows, missing = self.database.snapshot(read)
            if rows is not None:
                break
        archive.close()
        return Made(rows=rows or 0, files=len(self.copied), missing=missing, size=0)

    def _copy(self, archive: ArchiveWriter, files: Mapping[str, int]) -> int:
        """Copy those files that are not copied yet, and return how many were not there."""
        missing = 0
        for name, size in files.items():
            if name in self.copied:
                continue
            pieces = self.store.pieces(name, size)
            try:
                first = next(pieces, b"")
            except FileNotFoundError:
                missing += 1
                continue
            archive.add_pieces(f"files/{name}", size, chain([first], pieces))
            self.copied.add(name)
        return missing

    def _add_tables(self, archive: ArchiveWriter, connection: sa.Connection) -> int:
        rows = 0
        for table in metadata.sorted_tables:
            for number, part in enumerate(read_parts(connection, table)):
                archive.add(f"tables/{table.name}/{number:06}.jsonl", part)
                rows += part.count(b"\n")
        return rows
