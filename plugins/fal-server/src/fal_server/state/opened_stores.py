"""Opened stores: the store of files that a URL names."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from fal_server.errors import ServerError, StorageFull
from fal_server.state.file_stores import FileStore, FolderStore
from fal_server.state.object_stores import open_objects


def open_files(url: str | None, data: Path) -> FileStore:
    """
    Open the store at *url*, and check that files can be kept there.

    Arguments:
        url: Where it is, as in ``s3://bucket/prefix`` or ``file:///srv/shared``. None for
            *data* itself.

        data: The data directory.

    Raises:
        ServerError: It cannot be used.
    """
    if url is None:
        return FolderStore(data)
    parsed = urlsplit(url)
    if parsed.scheme in ("", "file"):
        path = Path(unquote(parsed.path))
        if parsed.netloc not in ("", "localhost") or not path.is_absolute():
            raise ServerError(
                f"{url!r} is not the URL of a folder. Write its whole path after 'file://', as "
                "in 'file:///srv/shared'."
            )
        return _open_folder(path)
    return open_objects(url, data / "spool")


def _open_folder(path: Path) -> FolderStore:
    try:
        store = FolderStore(path, is_shared=True)
        with _probe(store) as name:
            store.put(store.place_of(name), name)
    except (OSError, StorageFull) as error:
        why = error.strerror if isinstance(error, OSError) else "it is full"
        raise ServerError(f"Files cannot be kept in {path}: {why}.") from error
    return store


@contextlib.contextmanager
def _probe(store: FolderStore) -> Iterator[str]:
    name = f"probe-{os.urandom(8).hex()}"
    try:
        store.place_of(name).write_bytes(b"")
        yield name
    finally:
        with contextlib.suppress(OSError):
            store.remove(name)
