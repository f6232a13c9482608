"""
Object stores: S3 and its like, through the file systems of fsspec.

An object is written as a whole or not at all, and never changed, so that others never see a
part of one. A file is written on this machine first, and sent once it is complete.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import functools
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import attrs

from fal_core.caches import remove_quietly
from fal_server.errors import ServerError, StateUnavailable, StorageFull
from fal_server.state.databases import PATIENCE
from fal_server.state.file_stores import PIECE, Entry, FileStore, check_complete, translated

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: How many bytes are sent and fetched in one request, at least where the store has parts.
_PART = 8 << 20


@attrs.frozen
class Kind:
    """
    A kind of object store, which shows an object once it is complete.

    Attributes:
        package: What has to be installed for it.

        sending: The options with which a file is sent, so that little of it is in memory.

        finds_prefixes: Whether it can look for objects by how their names begin.
    """

    package: str
    sending: Mapping[str, Any]
    finds_prefixes: bool = True


_S3 = Kind("s3fs", {"chunksize": _PART, "max_concurrency": 4})
_GOOGLE = Kind("gcsfs", {"chunksize": _PART})
_AZURE = Kind("adlfs", {"max_concurrency": 4}, finds_prefixes=False)

#: The kinds of stores by the schemes of their URLs.
KINDS = {"s3": _S3, "gs": _GOOGLE, "gcs": _GOOGLE, "az": _AZURE, "abfs": _AZURE}

#: What the errors of stores that are full have in their texts.
_FULL = ("QuotaExceeded", "StorageFull", "InsufficientStorage", "InsufficientCapacity")

#: The names under which file systems tell when an object was stored.
_TIMES = ("LastModified", "updated", "mtime", "last_modified", "created")

#: Seconds before something is tried again: at first, and at most.
_PAUSE, _LONGEST_PAUSE = 0.05, 2.0


@attrs.frozen
class ObjectStore(FileStore):
    """
    The objects below a path.

    Attributes:
        system: The file system of fsspec.

        path: The bucket and the prefix.

        disk: The folder of this machine in which files are written.

        kind: What kind of store it is.

        patience: Seconds to wait for a store that cannot be reached.
    """

    system: Any
    path: str
    disk: Path
    kind: Kind
    patience: float = PATIENCE
    is_shared: bool = attrs.field(default=True, init=False)
    at_once: int = attrs.field(default=16, init=False)

    def below(self, folder: str) -> ObjectStore:
        """Return the store of the objects in *folder*."""
        return attrs.evolve(self, path=f"{self.path}/{folder}", disk=self._disk_of(folder))

    def place_of(self, name: str) -> Path:
        """Return a path in the folder of this machine."""
        return self.disk / quote(name, safe="")

    def path_of(self, name: str) -> None:
        """Return None: no object is a file of this machine."""

    def put(self, written: str | Path, name: str, *, is_durable: bool = True) -> None:
        """Send a file, and remove it here."""
        target = self._name(name)
        self._patiently(lambda: self.system.put_file(str(written), target, **self.kind.sending))
        remove_quietly(written)

    def has(self, name: str) -> bool:
        """Return whether there is such an object."""
        try:
            self._patiently(lambda: self.system.info(self._name(name)))
        except FileNotFoundError:
            return False
        return True

    def pieces(
        self, name: str, size: int, *, start: int = 0, most: int = PIECE
    ) -> Iterator[bytes]:
        """Yield the bytes of an object, of which some more are in memory."""
        target = self._name(name)
        while start < size:
            end = min(start + _PART, size)
            part: bytes = self._patiently(
                functools.partial(self.system.cat_file, target, start=start, end=end)
            )
            check_complete(end - start - len(part), target)
            for begin in range(0, len(part), most):
                yield part[begin : begin + most]
            start = end

    def find(self, folder: str, prefix: str = "") -> Iterator[Entry]:
        """Yield objects."""
        place = self._name(folder) if folder else self.path
        options = {"prefix": prefix} if prefix and self.kind.finds_prefixes else {}

        def look() -> Mapping[str, Mapping[str, Any]]:
            found: Mapping[str, Mapping[str, Any]]
            found = self.system.find(place, detail=True, **options)
            return found

        try:
            found = self._patiently(look)
        except FileNotFoundError:
            return
        for path, facts in found.items():
            if path.startswith(f"{place}/{prefix}"):
                name = path.removeprefix(f"{self.path}/")
                yield Entry(name, int(facts["size"]), _time_of(facts))

    def remove(self, name: str) -> None:
        """Remove an object, if there is one."""
        with contextlib.suppress(FileNotFoundError):
            self._patiently(lambda: self.system.rm_file(self._name(name)))

    def remove_older(self, name: str, time: float) -> None:
        """Remove an old object. It is looked at just before."""
        with contextlib.suppress(FileNotFoundError):
            facts = self._patiently(lambda: self.system.info(self._name(name)))
            if _time_of(facts) < time:
                self.remove(name)

    def remove_folder(self, folder: str) -> None:
        """Remove all objects in *folder*."""
        for each in list(self.find(folder)):
            self.remove(each.name)

    def check(self) -> None:
        """
        Check that objects can be put there, read and removed, at once.

        Raises:
            Exception: What the file system raises.
        """
        name, content = self._name(f"probe-{os.urandom(8).hex()}"), b"fal-core"
        self.system.pipe_file(name, content)
        if self.system.cat_file(name, start=0, end=len(content)) != content:
            raise OSError("It returns another content than was put there")
        self.system.rm_file(name)

    def _name(self, name: str) -> str:
        return f"{self.path}/{name}"

    def _disk_of(self, folder: str) -> Path:
        disk = self.disk / folder
        with translated():
            disk.mkdir(parents=True, exist_ok=True, mode=0o700)
        return disk

    def _patiently(self, attempt: Callable[[], T]) -> T:
        """Return what *attempt* returns, which is repeated while the store cannot be reached."""
        deadline, pause, is_told = time.monotonic() + self.patience, _PAUSE, False
        while True:
            try:
                return attempt()
            except Exception as error:
                # File systems raise what their clients raise, which have no class in common.
                if isinstance(error, FileNotFoundError) or _is_short(error):
                    raise
                if not is_told:
                    logger.warning("The files at %s: %s", self.path, _describe(error))
                    is_told = True
                if any(each in str(error) for each in _FULL):
                    raise StorageFull("The store of the server's files is full.") from error
                if isinstance(error, PermissionError) or time.monotonic() > deadline:
                    raise StateUnavailable(
                        "The server's files cannot be read or written at present."
                    ) from error
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


def open_objects(url: str, disk: Path) -> ObjectStore:
    """
    Open an object store, and check that objects can be kept there.

    Arguments:
        disk: The folder of this machine in which files are written. What it has is removed.

    Raises:
        ServerError: It cannot be used.
    """
    parsed = urlsplit(url)
    shown = f"{parsed.scheme}://{parsed.netloc.rpartition('@')[2]}{parsed.path}"
    if parsed.scheme not in KINDS:
        raise ServerError(
            f"Files cannot be kept at {shown!r}. Write the URL of a folder, as in "
            "'file:///srv/shared', or one that begins with "
            f"{', '.join(f'{each}://' for each in KINDS)}."
        )
    if "@" in parsed.netloc or parsed.query or not parsed.netloc:
        raise ServerError(
            f"{shown!r} must be the URL of a bucket and a prefix alone, as in "
            f"'{parsed.scheme}://bucket/prefix'. Credentials and other options belong into the "
            "environment variables, or the files, that the client of the store reads."
        )
    kind = KINDS[parsed.scheme]
    try:
        import fsspec

        system = fsspec.filesystem(parsed.scheme, use_listings_cache=False)
    except ImportError:
        raise ServerError(
            f"Files at {shown!r} need the package {kind.package}, which is not installed where "
            f"the server runs. Install it with 'pip install {kind.package}'."
        ) from None
    shutil.rmtree(disk, ignore_errors=True)
    disk.mkdir(parents=True, mode=0o700)
    path = f"{parsed.netloc}{parsed.path}".rstrip("/")
    store = ObjectStore(system, path, disk, kind)
    try:
        store.check()
    except Exception as error:
        raise ServerError(f"Files cannot be kept at {shown!r}: {_describe(error)}") from error
    return store


def _describe(error: Exception) -> str:
    """Return what an error of a store says, in one line. Clients put no credentials there."""
    text = " ".join(str(error).split())[:500] or type(error).__name__
    return text if text.endswith(".") else f"{text}."


def _is_short(error: Exception) -> bool:
    """Return whether more of an object was asked for than there is of it."""
    return isinstance(error, OSError) and error.errno == errno.EINVAL


def _time_of(facts: Mapping[str, Any]) -> float:
    """Return when an object was stored. It seems new where that is not told."""
    for name in _TIMES:
        found = facts.get(name)
        if isinstance(found, str):
            with contextlib.suppress(ValueError):
                found = datetime.datetime.fromisoformat(found.replace("Z", "+00:00"))
        if isinstance(found, datetime.datetime):
            return found.timestamp()
    return time.time()
