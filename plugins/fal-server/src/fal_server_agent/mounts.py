"""
Mounts: directories under the paths by which applications know them.

They are in a mount namespace of the runner's own: other processes of the machine see
nothing of them.
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
    Have each path of *directories* lead to its directory; return False where it does
    not, for want of rights or of mount namespaces.

    It is so for the calling thread, and for the threads and processes that it starts
    from then on. Where a path is not there, they have a root directory of their own in
    memory, in which all that is in that of the machine is found as well: nothing is left
    on the machine.

    Arguments:
        alone: A directory that is to see nothing of those it lies beside.
    """
    held: list[int] = []
    try:
        _leave()
        if alone:
            _hide_others(alone)
        if not all(os.path.isdir(path) for path in directories):
            # Their mount points are made there, where these would be out of sight.
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
    """
    Leave the mounts of the machine; what is mounted there later is seen all the same.
    """
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
    Become what is below a root directory that has what this one has, and *sources*.

    Arguments:
        place: A directory to put it together on.
    """
    before = os.getcwd()
    _mount("none", place, 0, "tmpfs")
    # It is not to be found within itself.
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
    Return a path of *directory* that is good whatever is mounted; *held* gets what is to
    be closed.
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
