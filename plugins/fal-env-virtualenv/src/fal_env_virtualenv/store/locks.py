"""
Lock files: ``flock`` locks that the system releases when their holder ends.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event

from fal_core.errors import Cancelled

#: Seconds between two tries to take a lock that another process holds.
_PATIENCE = 0.02

# A forked child shares the locks of its parent, and would hold them longer than it.
_held: set[int] = set()


def _close_inherited_locks() -> None:
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_close_inherited_locks)


def try_lock(path: str, *, shared: bool, create: bool = False, least: int = 0) -> int | None:
    """
    Lock the file *path* and return its descriptor; None if another process holds it.

    If the file is replaced while it is being locked, the new file is locked instead.

    Arguments:
        shared: Whether others may hold the lock as well, if theirs is shared too.

        create: Whether to create a file that does not exist.

        least: The smallest descriptor to return.

    Raises:
        OSError: The file cannot be opened, or does not exist and *create* is false.
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
    """
    Release a lock that :func:`try_lock` took.
    """
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


def is_descriptor_of(descriptor: int, path: str) -> bool:
    """
    Tell whether *descriptor* belongs to the file that is at *path* now.
    """
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def is_locked(path: str) -> bool:
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


@contextmanager
def locked(path: str, cancelled: Event, on_wait: Callable[[], None]) -> Iterator[None]:
    """
    Hold an exclusive lock on the file *path*, which is created if it does not exist.

    Arguments:
        on_wait: Called once if another process holds the lock.

    Raises:
        Cancelled: *cancelled* was set while another process held the lock.
    """
    waited = False
    while (descriptor := try_lock(path, shared=False, create=True)) is None:
        if not waited:
            waited = True
            on_wait()
        if cancelled.wait(_PATIENCE):
            raise Cancelled("The call was cancelled while it waited for another build.")
    try:
        yield
    finally:
        unlock(descriptor)
