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
_MS_BIND, _MS_REC, _MS_SLAVE = 0x1000, 0x4000, 0x80000


def mount(directories: Mapping[str, str], *, alone: str = "") -> bool:
    """
    Have each path of *directories* lead to its directory; return False where it does
    not, for want of rights or of mount namespaces.

    It is so for the calling thread, and for the threads and processes that it starts
    from then on. A path that is not there becomes an empty directory of the machine.

    Arguments:
        alone: A directory that is to see nothing of those it lies beside.
    """
    try:
        _leave()
        if alone:
            _hide_others(alone)
        for path, directory in directories.items():
            os.makedirs(path, exist_ok=True)
            _mount(directory, path, _MS_BIND)
    except OSError:
        return False
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
    held = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        _mount("none", os.path.dirname(directory), 0, "tmpfs")
        os.mkdir(directory, 0o700)
        _mount(f"/proc/self/fd/{held}", directory, _MS_BIND)
    finally:
        os.close(held)


def _mount(source: str, target: str, flags: int, kind: str = "none") -> None:
    library = ctypes.CDLL(None, use_errno=True)
    names = [os.fsencode(each) for each in (source, target, kind)]
    _check(library.mount(*names, ctypes.c_ulong(flags), None))


def _check(code: int) -> None:
    if code:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
