"""
File stores: where the server keeps what is too large for its database.

A store is a folder, of this machine or of a shared file system, or an object store that many
machines reach. Its files have names with slashes. A file is written on this machine first, and
is there under its name once all of it is.
"""

from __future__ import annotations

import abc
import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import attrs

from fal_server.errors import StorageFull

#: How many bytes of a file are in memory at once, unless it is told otherwise.
PIECE = 1 << 20

#: What is appended to the name of a file while it is being removed.
_ASIDE = ".removed"


@attrs.frozen
class Entry:
    """
    A file of a store.

    Attributes:
        modified: When it was put there, by the clock of the store.
    """

    name: str
    size: int
    modified: float


class FileStore(abc.ABC):
    """
    Files by their names. All methods may be called in any thread, and wait for the store.

    Raises:
        FileNotFoundError: There is no such file.

        StorageFull: The store, or the disk of this machine, is full.

        StateUnavailable: The store could not be reached for too long.

    Attributes:
        is_shared: Whether other servers put files there as well.

        at_once: How many files are best read at the same time.
    """

    is_shared: bool
    at_once: int

    @property
    @abc.abstractmethod
    def disk(self) -> Path:
        """The folder of this machine in which files are written."""

    @abc.abstractmethod
    def below(self, folder: str) -> FileStore:
        """Return the store of the files in *folder*."""

    @abc.abstractmethod
    def place_of(self, name: str) -> Path:
        """
        Return the path on this machine at which, or beside which, a file is written before it
        is put there under *name*.
        """

    @abc.abstractmethod
    def path_of(self, name: str) -> Path | None:
        """Return the path of a file. None where it has none on this machine."""

    @abc.abstractmethod
    def put(self, written: str | Path, name: str, *, is_durable: bool = True) -> None:
        """
        Put the file at the path *written*, which is gone then, under *name*. It replaces
        another at once.

        Arguments:
            is_durable: Whether it has to outlive a failure of the machine.
        """

    @abc.abstractmethod
    def has(self, name: str) -> bool:
        """Return whether there is such a file."""

    @abc.abstractmethod
    def pieces(
        self, name: str, size: int, *, start: int = 0, most: int = PIECE
    ) -> Iterator[bytes]:
        """
        Yield the bytes of a file that has *size*, from *start* on, *most* of them at a time.

        Raises:
            OSError: The file is shorter.
        """

    @abc.abstractmethod
    def find(self, folder: str, prefix: str = "") -> Iterator[Entry]:
        """
        Yield all files in *folder*, and in folders there, whose names begin with *prefix*
        in it.
        """

    @abc.abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file, if there is one."""

    @abc.abstractmethod
    def remove_older(self, name: str, time: float) -> None:
        """Remove a file that was put there before *time*. One that is put there meanwhile stays."""

    @abc.abstractmethod
    def remove_folder(self, folder: str) -> None:
        """Remove all files in *folder*, if there are any."""


@attrs.frozen
class FolderStore(FileStore):
    """The files in a folder."""

    folder: Path
    is_shared: bool = False
    at_once: int = attrs.field(default=1, init=False)

    def __attrs_post_init__(self) -> None:
        with translated():
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    @property
    def disk(self) -> Path:
        """The folder itself."""
        return self.folder

    def below(self, folder: str) -> FolderStore:
        """Return the store of the files in *folder*."""
        return FolderStore(self.folder / folder, self.is_shared)

    def place_of(self, name: str) -> Path:
        """Return the path of the file itself."""
        path = self.folder / name
        if "/" in name:
            with translated():
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return path

    def path_of(self, name: str) -> Path:
        """Return the path of a file, which need not be there."""
        return self.folder / name

    def put(self, written: str | Path, name: str, *, is_durable: bool = True) -> None:
        """Sync a file and rename it."""
        final = self.folder / name
        is_renamed = Path(written) != final
        with translated():
            if is_durable:
                _sync(written)
            if is_renamed:
                final.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                os.replace(written, final)
            if is_durable and (self.is_shared or not is_renamed):
                # On this machine, a rename is durable once the database is, whose file lies
                # on the same file system.
                _sync(final.parent)

    def has(self, name: str) -> bool:
        """Return whether there is such a file."""
        return (self.folder / name).is_file()

    def pieces(
        self, name: str, size: int, *, start: int = 0, most: int = PIECE
    ) -> Iterator[bytes]:
        """Yield the bytes of a file."""
        path, left = self.folder / name, size - start
        with path.open("rb", buffering=0) as file:
            file.seek(start)
            while left and (piece := file.read(min(left, most))):
                left -= len(piece)
                yield piece
        check_complete(left, str(path))

    def find(self, folder: str, prefix: str = "") -> Iterator[Entry]:
        """Yield files, but none that is removed meanwhile."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self.folder / folder) as found:
            for each in found:
                if not each.name.startswith(prefix):
                    continue
                name = f"{folder}/{each.name}" if folder else each.name
                if each.is_dir(follow_symlinks=False):
                    yield from self.find(name)
                    continue
                with contextlib.suppress(FileNotFoundError):
                    state = each.stat(follow_symlinks=False)
                    yield Entry(name, state.st_size, state.st_mtime)

    def remove(self, name: str) -> None:
        """Remove a file, if there is one."""
        (self.folder / name).unlink(missing_ok=True)

    def remove_older(self, name: str, time: float) -> None:
        """
        Remove an old file. A new one that a process on any machine puts there at the same
        moment is kept: the file is looked at again once it has another name.
        """
        path = self.folder / name
        aside = path.with_name(f"{path.name}{_ASIDE}")
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime >= time:
                return
            path.rename(aside)
            if aside.stat().st_mtime >= time:
                with contextlib.suppress(FileExistsError):
                    os.link(aside, path)
            aside.unlink()

    def remove_folder(self, folder: str) -> None:
        """Remove a folder."""
        shutil.rmtree(self.folder / folder, ignore_errors=True)


def check_complete(left: int, name: str) -> None:
    """
    Check that no bytes are *left* of a file that has ended.

    Raises:
        OSError: The file is too short.
    """
    if left:
        raise OSError(errno.EIO, "A file of the server is not complete", name)


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Raise :class:`StorageFull` for a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageFull("The disk of the server is full.") from error
        raise


def _sync(path: str | Path) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
