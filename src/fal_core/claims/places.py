"""
The directory of claims, and the files in it, which all users of a machine may lock.

Any user may have made them. So no link is followed, nothing is written to a file that has
another name elsewhere, and what a file says about its holder is shown and not relied on.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from fal_core.claims.failures import ClaimsUnavailable
from fal_core.digests import digest

#: The environment variable that names the directory.
CLAIMS_VARIABLE = "FAL_CORE_CLAIMS"

#: Where the directory is made; the first in which any user may make one. No clock empties
#: the first, as it may the second.
_PARENTS = ("/run/lock", "/tmp")
_NAME = "fal-core-devices"

#: Everybody may make files in it, and remove their own.
_SHARED = stat.S_ISVTX | 0o777

#: How often a directory is looked at that another user is making, and the seconds between.
_TRIES, _PAUSE = 20, 0.02

# A forked child would hold the locks of its parent, and for longer than it.
_held: set[int] = set()


def claims_directory() -> Path:
    """
    Return the directory that has the claims of all users of this machine.

    It depends on the machine alone, unless :data:`CLAIMS_VARIABLE` names one: every user has
    to find the same one.
    """
    if named := os.environ.get(CLAIMS_VARIABLE):
        return Path(named).expanduser()
    for parent in _PARENTS:
        made = Path(parent, _NAME)
        if _is_shared(parent) or _is_shared(made):
            return made
    return Path(_PARENTS[-1], _NAME)


def _is_shared(path: str | Path) -> bool:
    try:
        return os.lstat(path).st_mode & _SHARED == _SHARED
    except OSError:
        return False


@contextmanager
def open_directory() -> Iterator[int]:
    """
    Give a descriptor of the directory of claims, which is made if there is none.

    Raises:
        ClaimsUnavailable: It cannot be made, or is none that can be shared.
    """
    path = claims_directory()
    try:
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise _unavailable(path, error) from error
    try:
        _share(descriptor, path)
        yield descriptor
    finally:
        os.close(descriptor)


def _share(descriptor: int, path: Path) -> None:
    """Let all users make files in a directory of this user's own."""
    for _ in range(_TRIES):
        found = os.fstat(descriptor)
        if found.st_mode & _SHARED == _SHARED:
            _own(descriptor)
            return
        if os.geteuid() in (0, found.st_uid):
            # The process that made it may have been ended before this.
            if any(not name.endswith(".lock") for name in os.listdir(descriptor)):
                raise ClaimsUnavailable(
                    str(path),
                    "has other files, which all users could then add to",
                    CLAIMS_VARIABLE,
                )
            os.fchmod(descriptor, _SHARED)
            _own(descriptor)
            return
        # Another user has made it just now.
        time.sleep(_PAUSE)
    raise ClaimsUnavailable(
        str(path), f"belongs to user {found.st_uid}, who keeps it from others", CLAIMS_VARIABLE
    )


def _own(descriptor: int) -> None:
    """
    Take a directory or file over from another user, who could remove what is locked in it, if
    this process is root's.
    """
    if os.geteuid() == 0 and os.fstat(descriptor).st_uid != 0:
        os.fchown(descriptor, 0, 0)


def lock_file(directory: int, name: str, *, shared: bool) -> int | None:
    """
    Lock a file of the *directory*, and return its descriptor; None if another holds it.

    Release it with :func:`release`.

    Raises:
        ClaimsUnavailable: It is none that can be locked.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        while True:
            descriptor = _open(directory, name)
            _held.add(descriptor)
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
                if os.fstat(descriptor).st_nlink == 1:
                    _own(descriptor)
                if _is_named(descriptor, directory, name):
                    return descriptor
            except BlockingIOError:
                release(descriptor)
                return None
            except BaseException:
                release(descriptor)
                raise
            # It was removed meanwhile, and nobody else would meet its lock.
            release(descriptor)
    except OSError as error:
        raise _unavailable(claims_directory() / name, error) from error


def release(descriptor: int) -> None:
    """Close the descriptor of a lock. The lock is released with its last copy."""
    if descriptor in _held:
        _held.discard(descriptor)
        os.close(descriptor)


def adopt(descriptor: int) -> None:
    """Take note of a lock that this process has inherited, and gives up with :func:`release`."""
    _held.add(descriptor)


def write_holder(descriptor: int, text: str) -> None:
    """Write who holds the lock into its file, for those who wait for it."""
    if os.fstat(descriptor).st_nlink != 1:
        # It has another name, perhaps that of a file of the user's.
        return
    data = text.encode()
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, data, 0)
    except OSError:
        # It was made by a user who was ended before all could write to it, or the disk is
        # full; the lock holds all the same.
        pass


def read_holder(directory: int, name: str) -> str:
    """Return what the holder of a lock has written. Empty where it has not."""
    try:
        descriptor = _open(directory, name)
    except OSError:
        return ""
    try:
        return os.pread(descriptor, 1000, 0).decode(errors="replace")
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def name_of(uuid: str) -> str:
    """Return the name of the file for the device *uuid*."""
    name = quote(uuid, safe="")
    return f"{name if len(name) < 200 else digest(uuid.encode())}.lock"


def _open(directory: int, name: str) -> int:
    """Open the file *name*, which is made if there is none, without following a link."""
    # A FIFO is not waited for.
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    while True:
        try:
            # The kernel may refuse O_CREAT for a file of another user in a shared directory.
            descriptor = os.open(name, os.O_RDWR | flags, dir_fd=directory)
        except FileNotFoundError:
            try:
                new = os.O_RDWR | os.O_CREAT | os.O_EXCL | flags
                descriptor = os.open(name, new, 0o666, dir_fd=directory)
            except FileExistsError:
                continue
            # The mask of the process has taken permissions away.
            os.fchmod(descriptor, 0o666)
        except PermissionError:
            # A lock needs no more than to read it.
            descriptor = os.open(name, os.O_RDONLY | flags, dir_fd=directory)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is no regular file", name)


def _is_named(descriptor: int, directory: int, name: str) -> bool:
    try:
        there = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _unavailable(path: Path, error: OSError) -> ClaimsUnavailable:
    if error.errno == errno.ELOOP:
        problem = "is a link, and none is followed"
    elif error.errno == errno.EINVAL:
        problem = str(error.strerror)
    else:
        problem = f"cannot be used ({error.strerror})"
    return ClaimsUnavailable(str(path), problem, CLAIMS_VARIABLE)


def _close_inherited() -> None:
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_close_inherited)
