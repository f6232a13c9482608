"""
Edits: local modules whose files change after a function was sealed with them.

Modules that travel as source are read again, so that the next call has what is written there.
This process keeps what it has imported, and is told so.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from typing import Any

from fal_core.sealing.imports import MAIN, is_installed

#: Seconds between two looks at the files, at least, and as a multiple of what a look takes.
_LEAST, _REST = 0.3, 99

#: The size, the inode and the time of the last change. None where there is no file.
Stamp = tuple[int, int, int] | None

_lock = threading.Lock()
#: By the names of modules that this process has imported: the spec of the import, the file as
#: it was first seen after that, and whether an edit since then was told.
_imported: dict[str, tuple[Any, Stamp, bool]] = {}


class Edits:
    """
    The files of the local modules of a function, and how they were when it was sealed.

    Arguments:
        files: The files that travel.

        modules: The paths of those among them that are modules, by name.

        own: The name and the path of the function's module, whose objects travel by value.
            None where it cannot be imported again, as a script.

    Attributes:
        until: When the files may be looked at again, on the monotonic clock.

        outdated: Sentences about modules that this process has imported and not reloaded, or
            whose files are gone, which are yet to be told.
    """

    __slots__ = (
        *("_missing", "_modules", "_own", "_stamps", "_told", "_took"),
        *("outdated", "until"),
    )

    def __init__(
        self, files: Iterable[str], modules: Mapping[str, str], own: tuple[str, str] | None
    ) -> None:
        self._stamps = {path: _stamp(path) for path in files}
        self._modules = dict(modules)
        self._own = {} if own is None else dict([own])
        self._took: float | None = None
        self.outdated: list[str] = []
        self.until: float = monotonic() + _LEAST
        # Paths that were missing at the last look, and those that were named since.
        self._missing: set[str] = set()
        self._told: set[str] = set()
        self._find_outdated(self._stamps)

    def are_none(self) -> bool:
        """
        Look at the files, and tell whether all are as they were.

        A file that is not there is about to be replaced, or nothing can be read from it.
        """
        began = monotonic()
        stamps = {path: _stamp(path) for path in self._stamps}
        self._find_outdated(stamps)
        ended = monotonic()
        # The shorter of the last two: a machine may stand still during one of them.
        before, self._took = self._took, ended - began
        known = self._stamps
        self._find_gone(stamps)
        are_none = all(stamp in (None, known[path]) for path, stamp in stamps.items())
        if are_none:
            # Otherwise the next look sees the edit as well.
            took = self._took if before is None else min(before, self._took)
            self.until = ended + max(_LEAST, _REST * took)
        return are_none

    def _find_gone(self, stamps: Mapping[str, Stamp]) -> None:
        """Name, once, modules whose files are there in neither of the last two looks."""
        gone = {path for path, stamp in stamps.items() if stamp is None}
        untold = (gone & self._missing) - self._told
        for name, path in self._modules.items() if untold else ():
            if path in untold:
                self.outdated.append(
                    f"The file of module {name!r} is gone: {path}. Calls go on with the "
                    "version that was read from it. Put it back, or start the program again."
                )
        self._told |= untold
        self._missing = gone

    def _find_outdated(self, stamps: Mapping[str, Stamp]) -> None:
        for name, path in self._modules.items():
            if _is_outdated(name, stamps.get(path)):
                self.outdated.append(
                    f"Module {name!r} was edited. Calls use the new version from now on, and "
                    "this program still has the old one. Reload it with importlib.reload, or "
                    "start the program again."
                )
        for name, path in self._own.items():
            if name not in self._modules and _is_outdated(name, _stamp(path)):
                self.outdated.append(
                    f"Module {name!r} was edited. Calls of its functions still use the version "
                    "that this program has imported. Reload it with importlib.reload, or start "
                    "the program again."
                )


def join(one: Edits | None, other: Edits | None) -> Edits | None:
    """Return *one* with the files of *other*."""
    if one is None or other is None:
        return one or other
    one._stamps = {**other._stamps, **one._stamps}
    one._modules = {**other._modules, **one._modules}
    one._own = {**other._own, **one._own}
    one.outdated += other.outdated
    return one


def own_module(func: Callable[..., Any]) -> tuple[str, str] | None:
    """Return the name and the path of the module of *func* if it can be imported again."""
    name = getattr(func, "__module__", None) or "__main__"
    module = sys.modules.get(name)
    path = getattr(module, "__file__", None)
    if module is None or module.__spec__ is None or not isinstance(path, str):
        return None
    return None if name in MAIN or is_installed(name) else (name, path)


def _is_outdated(name: str, stamp: Stamp) -> bool:
    """Tell, once, whether this process has imported a module before its file became what it is."""
    spec = getattr(sys.modules.get(name), "__spec__", None)
    if spec is None or stamp is None:
        return False
    with _lock:
        known = _imported.get(name)
        # Importing it again, as reloading it does, makes another spec.
        if known is None or known[0] is not spec:
            _imported[name] = spec, stamp, False
            return False
        if known[1] == stamp or known[2]:
            return False
        _imported[name] = spec, stamp, True
        return True


def _stamp(path: str) -> Stamp:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_ino, status.st_mtime_ns
