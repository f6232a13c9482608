"""
Watching the source files of a function for changes.

The files are few and known, so they are polled: the core needs no ``watchfiles`` for it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from fal_core.functions import IsolatedFunction
from fal_core.sealing.sources import local_modules

#: Folders without sources of a function.
_PASSED = {"__pycache__", "node_modules", "site-packages"}
_MOST = 5000


class Watched:
    """
    Files, and their state when this was made.

    Attributes:
        changed: The file that has changed, relative to the working directory.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._states = {path: _state(path) for path in paths}
        self.changed: str = ""

    @classmethod
    def of(cls, function: IsolatedFunction[..., Any]) -> Watched:
        """
        Watch the module of *function*, and the local modules that it needs.
        """
        raw = function.raw_func
        assert raw is not None
        paths = set(local_modules(raw, function.local_python_modules or ()).values())
        own = getattr(sys.modules.get(raw.__module__), "__file__", None)
        return cls(paths | ({own} if own else set()))

    @classmethod
    def beside(cls, target: str) -> Watched:
        """
        Watch the file that *target* names, and the Python files beside it.
        """
        place = target.partition("::")[0]
        folder = os.path.dirname(os.path.abspath(place)) if os.sep in place else os.getcwd()
        paths = {os.path.abspath(place)} if place.endswith(".py") else set()
        return cls(paths.union(_python_files(folder)))

    @property
    def paths(self) -> Collection[str]:
        """
        The watched files.
        """
        return self._states.keys()

    def has_changed(self) -> bool:
        """
        Tell whether a file was changed, removed or created.
        """
        for path, state in self._states.items():
            if _state(path) != state:
                self.changed = os.path.relpath(path)
                return True
        return False

    def wait(self, interval: float) -> None:
        """
        Wait for a change, checking every *interval* seconds.
        """
        while not self.has_changed():
            time.sleep(interval)


def _state(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _python_files(folder: str) -> Iterator[str]:
    count = 0
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name[0] != "." and name not in _PASSED]
        for name in names:
            if name.endswith(".py"):
                yield os.path.join(root, name)
                count += 1
        if count > _MOST:
            return
