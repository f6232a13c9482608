"""
Caches: what is kept on disk, how it is written and locked, and results kept in memory.

Locks are those of ``flock``, which the system releases when their holder ends.

Workers write to that directory too, and have no fal_core: the path comes from their code.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from fal_core_worker.archives import (
    CACHE_VARIABLE,
    ForeignCache,
    cache_directory,
    cache_root,
)
from fal_core_worker.results import cached

__all__ = [
    "CACHE_VARIABLE",
    "ForeignCache",
    "cache_directory",
    "cache_root",
    "cached",
    "is_descriptor_of",
    "is_locked",
    "leave_to_children",
    "new_file",
    "remove_quietly",
    "try_lock",
    "unlock",
    "write_atomically",
    "write_durably",
]

StrPath = str | os.PathLike[str]

# A forked child shares the locks of its parent, and would hold them longer than it.
_held: set[int] = set()


def _close_inherited_locks() -> None:
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_close_inherited_locks)


def write_atomically(
    path: StrPath, content: str | bytes, *, mode: int = 0o644, durable: bool = True
) -> None:
    """
    Write *content* to a new file, and rename it to *path*: readers see a whole file.

    Arguments:
        mode: The permissions of the file, less those that the process gives to none.

        durable: Whether the content is on the disk before the file is renamed, so that a
            loss of power leaves the old file or the new one.
    """
    with new_file(path) as new:
        _write(new, content, mode, durable=durable)
        os.replace(new, path)


def write_durably(path: StrPath, content: str | bytes) -> None:
    """Write *content* to *path*, and return once it is on the disk."""
    _write(path, content, 0o644, durable=True)


@contextmanager
def new_file(path: StrPath) -> Iterator[str]:
    """
    Choose the path of a file beside *path*, to be written and then renamed.

    At the end of the context the file is removed, unless it was renamed.
    """
    new = f"{os.fspath(path)}.{os.urandom(8).hex()}.new"
    try:
        yield new
    finally:
        remove_quietly(new)


def remove_quietly(path: StrPath) -> None:
    """Remove the file *path*, if it exists and can be removed."""
    try:
        os.unlink(path)
    except OSError:
        pass


def try_lock(
    path: StrPath, *, shared: bool, create: bool = False, mode: int = 0o644, least: int = 0
) -> int | None:
    """
    Lock the file *path* and return its descriptor; None if another process holds it.

    If the file is replaced while it is being locked, the new file is locked instead.

    Arguments:
        shared: Whether others may hold the lock as well, if theirs is shared too.

        create: Whether to create a file that does not exist.

        mode: The permissions of a file that is created.

        least: The smallest descriptor to return.

    Raises:
        OSError: The file cannot be opened, or does not exist and *create* is false.
    """
    operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    flags = os.O_RDWR | os.O_CREAT if create else os.O_RDONLY
    while True:
        descriptor = os.open(path, flags | os.O_CLOEXEC, mode)
        if descriptor < least:
            low, descriptor = descriptor, fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, least)
            os.close(low)
        try:
            fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
            if is_descriptor_of(descriptor, path):
                _held.add(descriptor)
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def unlock(descriptor: int) -> None:
    """Release a lock that :func:`try_lock` took."""
    if descriptor in _held:
        _held.discard(descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def leave_to_children(descriptor: int) -> None:
    """
    Close a lock that :func:`try_lock` took, without releasing it.

    The child processes that inherited it hold it until the last of them ends.
    """
    if descriptor in _held:
        _held.discard(descriptor)
        os.close(descriptor)


def is_descriptor_of(descriptor: int, path: StrPath) -> bool:
    """Tell whether *descriptor* belongs to the file that is at *path* now."""
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def is_locked(path: StrPath) -> bool:
    """
    Tell whether a process holds the lock file *path*.

    Raises:
        OSError: The file exists, but cannot be opened.
    """
    try:
        descriptor = try_lock(path, shared=False)
    except FileNotFoundError:
        return False
    if descriptor is None:
        return True
    unlock(descriptor)
    return False


def _write(path: StrPath, content: str | bytes, mode: int, *, durable: bool) -> None:
    data = content.encode() if isinstance(content, str) else content
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    with open(os.open(path, flags, mode), "wb") as file:
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())
