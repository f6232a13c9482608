"""
Mounts: directories at the paths where applications expect them.

They are mounted in a mount namespace of the runner, which no other process sees.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping

_CLONE_NEWNS = 0x00020000
_MS_BIND, _MS_MOVE, _MS_REC = 0x1000, 0x2000, 0x4000
_MS_UNBINDABLE, _MS_SLAVE = 0x20000, 0x80000
_MNT_DETACH = 2


def mount(directories: Mapping[str, str], *, alone: str = "") -> bool:
    """
    Mount each directory of *directories* at its path. Return False if this process may
    not, or if the system has no mount namespaces.

    The mounts hold for the calling thread, and for the threads and processes that it
    starts afterwards. If a path does not exist, they get a root directory of their own in
    memory, which has everything that the root of the machine has: nothing is left behind
    on the machine.

    Arguments:
        alone: A directory whose siblings are hidden.
    """
    held: list[int] = []
    try:
        _leave()
        if alone:
            _hide_others(alone)
        if not all(os.path.isdir(path) for path in directories):
            # The new root hides these directories, so that they are held open meanwhile.
            sources = {path: _hold(each, held) for path, each in directories.items()}
            place = next(iter(directories.values()))
            try:
                _make_root(place, sources)
            except OSError:
                ctypes.CDLL(None).umount2(os.fsencode(place), _MNT_DETACH)
                raise
        else:
            for path, directory in directories.items():
                _mount(directory, path, _MS_BIND)
    except OSError:
        return False
    finally:
        for each in held:
            os.close(each)
    return True


def _leave() -> None:
    """Enter a mount namespace of our own, in which later mounts of the machine appear too."""
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "unshare"):
        raise OSError("This system has no mount namespaces.")
    _check(library.unshare(_CLONE_NEWNS))
    _mount("none", "/", _MS_REC | _MS_SLAVE)


def _hide_others(directory: str) -> None:
    held: list[int] = []
    try:
        source = _hold(directory, held)
        _mount("none", os.path.dirname(directory), 0, "tmpfs")
        os.mkdir(directory, 0o700)
        _mount(source, directory, _MS_BIND)
    finally:
        for each in held:
            os.close(each)


def _make_root(place: str, sources: Mapping[str, str]) -> None:
    """
    Change the root to a directory in memory that has everything of the present root, and
    *sources*, which are directories by their paths.

    Arguments:
        place: The directory that the new root is put together on.
    """
    before = os.getcwd()
    _mount("none", place, 0, "tmpfs")
    # It must not contain itself.
    _mount("none", place, _MS_UNBINDABLE)
    os.chmod(place, 0o755)
    with os.scandir("/") as entries:
        for entry in entries:
            path = os.path.join(place, entry.name)
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), path)
                continue
            if entry.is_dir(follow_symlinks=False):
                os.mkdir(path)
            else:
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
            _mount(entry.path, path, _MS_BIND | _MS_REC)
    for path, source in sources.items():
        target = place + path
        os.makedirs(target, exist_ok=True)
        _mount(source, target, _MS_BIND)
    os.chdir(place)
    _mount(".", "/", _MS_MOVE)
    os.chroot(".")
    os.chdir(before)


def _hold(directory: str, held: list[int]) -> str:
    """
    Open *directory*, and return a path that leads to it regardless of what is mounted. The
    descriptor is added to *held*, to be closed later.
    """
    held.append(os.open(directory, os.O_PATH | os.O_DIRECTORY))
    return f"/proc/self/fd/{held[-1]}"


def _mount(source: str, target: str, flags: int, kind: str = "none") -> None:
    library = ctypes.CDLL(None, use_errno=True)
    names = [os.fsencode(each) for each in (source, target, kind)]
    _check(library.mount(*names, ctypes.c_ulong(flags), None))


def _check(code: int) -> None:
    if code:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
