"""
Loaded modules: those that targets have brought into this process.

They give way when another target is loaded, so that its files are read, and not those of
the same names in another folder, or as they were before.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from fal_core.sealing.imports import is_installed

#: The folder from which a module was loaded, with the module, by its name.
_loaded: dict[str, tuple[str, ModuleType]] = {}


@contextmanager
def loading_from(folder: str) -> Iterator[None]:
    """
    Import what *folder* has from there, in the context: modules that earlier targets have
    brought give way if they are from this folder, or have the names of its files.
    """
    for name, (origin, module) in list(_loaded.items()):
        if origin == folder or _has_module(folder, name.partition(".")[0]):
            del _loaded[name]
            if sys.modules.get(name) is module:
                del sys.modules[name]
    # Files may have been written since Python has last looked.
    importlib.invalidate_caches()
    before = frozenset(sys.modules)
    put_first(folder)
    try:
        yield
    finally:
        for name in sys.modules.keys() - before:
            module = sys.modules[name]
            path = getattr(module, "__file__", None) or ""
            if path.startswith(os.path.join(folder, "")) and not is_installed(name):
                _loaded[name] = folder, module


def put_first(folder: str) -> None:
    """
    Have modules imported from *folder* before all others. It stands on ``sys.path`` once.
    """
    sys.path[:] = [folder, *(entry for entry in sys.path if entry != folder)]


def forget_file(name: str, path: str) -> None:
    """
    Have the module *name* imported again if the program itself has imported it from *path*.

    A file with the name of a module of Python stays: others have it in the place of that.
    """
    if name == "__main__" or name in sys.stdlib_module_names:
        return
    if getattr(sys.modules.get(name), "__file__", None) == path:
        del sys.modules[name]


def _has_module(folder: str, name: str) -> bool:
    place = os.path.join(folder, name)
    return os.path.isfile(f"{place}.py") or os.path.isdir(place)
