"""A directory of this machine, sent to the files of an account."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

#: The name of the file by which the service knows what it has.
_HASH = ".fal_hash"


def sync_dir(
    local_dir: str | os.PathLike[str], remote_dir: str, force_upload: bool = False
) -> str:
    """
    Send a directory to *remote_dir*, a path below ``/data``, unless it is there as it is
    here, and return the path below that.

    What its ``.gitignore`` names is left out.

    Arguments:
        force_upload: Whether to send it even so.

    Raises:
        ValueError: *remote_dir* is not below ``/data``.

        FalServerlessException: The service does not take it.
    """
    from fal_host_serverless import SyncServerlessClient

    source = Path(local_dir).expanduser()
    if not remote_dir.startswith("/data/"):
        raise ValueError(
            f"remote_dir has to begin with /data/, as in /data/sync, not {remote_dir!r}."
        )
    if not source.is_dir():
        raise NotADirectoryError(f"{source} is no directory.")
    place = remote_dir.removeprefix("/data/")
    paths = sorted(_paths_of(source))
    digest = _digest_of(source, paths)
    with SyncServerlessClient().rest() as rest:
        asked = rest.send("POST", f"/files/dir/check_hash/{place}", json={"hash": digest})
        if asked.json() is True and not force_upload:
            print(f"{remote_dir} is as {source} already.")
            return place
        print(f"Sending {source} to {remote_dir}")
        with _packed(source, paths, digest) as file:
            sent = {"file_upload": (f"{source.name}.zip", file)}
            where = f"/files/file/local/{place}"
            rest.send("POST", where, params={"unzip": "true"}, files=sent, timeout=600)
    return place


@contextlib.contextmanager
def _packed(folder: Path, paths: list[str], digest: str) -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in paths:
                archive.write(folder / path, path)
            archive.writestr(_HASH, digest)
        file.seek(0)
        yield file


def _paths_of(folder: Path) -> Iterator[str]:
    """Yield the paths of the files in *folder*, relative to it."""
    from pathspec import GitIgnoreSpec

    ignored = folder / ".gitignore"
    lines = ignored.read_text().splitlines() if ignored.is_file() else []
    patterns = GitIgnoreSpec.from_lines(lines)
    for root, _, names in os.walk(folder):
        for name in names:
            path = os.path.relpath(os.path.join(root, name), folder)
            if path != _HASH and not patterns.match_file(path):
                yield path


def _digest_of(folder: Path, paths: list[str]) -> str:
    counted = hashlib.sha256()
    for path in paths:
        counted.update(path.encode() + b"\0")
        with (folder / path).open("rb") as file:
            while chunk := file.read(1 << 20):
                counted.update(chunk)
    return counted.hexdigest()
