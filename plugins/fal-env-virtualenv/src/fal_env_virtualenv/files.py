"""
Files that are whole or not there, and locks that end with their holder.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event

from fal_core.caches import cache_root
from fal_core.errors import Cancelled

#: Seconds between two tries for a lock that another holds.
_PATIENCE = 0.02

# A forked child shares the locks of its parent, and would keep them beyond it.
_held: set[int] = set()


def _forget_locks() -> None:
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget_locks)


def write_atomically(path: str, text: str) -> None:
    """
    Write *text* to *path* so that a reader sees all of it or none.
    """
    temporary = f"{path}.{os.getpid()}.{os.urandom(4).hex()}.part"
    try:
        write_durably(temporary, text)
        os.replace(temporary, path)
    except BaseException:
        remove_quietly(temporary)
        raise


def write_durably(path: str, text: str) -> None:
    """
    Write *text* to *path*, and return once it is on the disk.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    with open(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(descriptor)


def remove_quietly(path: str) -> None:
    """
    Remove the file *path*, if it is there and can be removed.
    """
    try:
        os.unlink(path)
    except OSError:
        pass


def open_lock(path: str, *, shared: bool, create: bool = False, least: int = 0) -> int | None:
    """
    Take the lock file *path* and return its descriptor; None where another has it.

    A lock file that was replaced while we took it is no lock: it is taken anew.

    Arguments:
        least: The descriptor is no smaller.
    """
    mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    flags = os.O_RDWR | os.O_CREAT if create else os.O_RDONLY
    while True:
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o644)
        if descriptor < least:
            low, descriptor = descriptor, fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, least)
            os.close(low)
        try:
            fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
            if is_locked_by(descriptor, path):
                _held.add(descriptor)
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def close_lock(descriptor: int) -> None:
    """
    Give back a lock that :func:`open_lock` took.
    """
    if descriptor in _held:
        _held.discard(descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def leave_lock(descriptor: int) -> None:
    """
    Leave a lock that :func:`open_lock` took to the processes that have inherited it.
    """
    if descriptor in _held:
        _held.discard(descriptor)
        os.close(descriptor)


def is_locked_by(descriptor: int, path: str) -> bool:
    """
    Tell whether *descriptor* is of the file that is at *path* now.
    """
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


@contextmanager
def locked(path: str, cancelled: Event, waiting: Callable[[], None]) -> Iterator[None]:
    """
    Hold the lock file *path* alone.

    Arguments:
        waiting: Called once, when another holds the lock.

    Raises:
        Cancelled: *cancelled* was set while another held it.
    """
    waited = False
    while (descriptor := open_lock(path, shared=False, create=True)) is None:
        if not waited:
            waited = True
            waiting()
        if cancelled.wait(_PATIENCE):
            raise Cancelled("The call was cancelled while another built its environment.")
    try:
        yield
    finally:
        close_lock(descriptor)


def describe_failure(error: OSError) -> str:
    """
    Return in a sentence what a failure of the file system means.
    """
    where = f" {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"The disk is full, and{where or ' a file'} could not be written. Free some space."
        )
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM) or _is_rootless(error):
        return (
            f"The cache directory cannot be written:{where} ({error.strerror}). "
            "Name another by the variable FAL_CORE_CACHE."
        )
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return (
            f"A file is where the cache directory needs a directory: {_file_in(error)}. "
            "Remove it, or name another cache directory by the variable FAL_CORE_CACHE."
        )
    return f"{error.strerror or error}:{where or ' the file system failed'}."


def _file_in(error: OSError) -> str:
    """
    Return the part of the path of *error*, from its beginning, that is no directory.
    """
    path = str(error.filename)
    while not os.path.lexists(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    return path


def _is_rootless(error: OSError) -> bool:
    """
    Tell whether the cache directory itself, or one above it, cannot be made.
    """
    if error.errno != errno.ENOENT or not isinstance(error.filename, str):
        return False
    return f"{cache_root()}/virtualenvs/".startswith(f"{error.filename}/")
