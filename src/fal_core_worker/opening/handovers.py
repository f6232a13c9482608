"""
Functions for child processes that a worker starts without forking, as "spawn" does.

Such a child has only what it imports. The worker keeps its functions, sealed as they
arrived, in a memory file that the child reads. The child opens a function when a name
that came with it is looked up.
"""

from __future__ import annotations

import marshal
import os
import threading
import weakref
from collections.abc import Callable
from importlib.machinery import ModuleSpec

from fal_core_worker.opening.origins import Name, Origin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any

    from fal_core_worker.opening.seals import Sealed

#: The environment variable that names the memory file.
VARIABLE = "FAL_CORE_WORKER_FUNCTIONS"

#: The native form of a function, the portable one, and why there is no portable one.
Forms = tuple[bytes | None, bytes | None, str]

_lock = threading.Lock()
# In a worker: a reference to each function, its forms and its names, by its id.
_kept: dict[int, tuple[Any, Forms, list[Name]]] = {}
_written: set[int] = set()
_file: IO[bytes] | None = None

# In a child: the index into _forms for each name, and the forms not opened yet.
_places: dict[Name, int] = {}
_forms: list[Forms | None] = []
# In a child: functions that were opened are held, since they are found by name only.
_held: list[Any] = []


class Main(Origin):
    """The ``__main__`` of a worker: what has arrived of its caller's ``__main__``."""

    @property
    def __spec__(self) -> ModuleSpec | None:
        # ``multiprocessing`` reads it when it starts a process without forking. The
        # process imports the module of that name first.
        return ModuleSpec("fal_core_worker.opening.children", None) if write() else None

    @__spec__.setter
    def __spec__(self, spec: ModuleSpec | None) -> None:
        """Do nothing: ``ModuleType`` sets it to None."""


def keep(
    function: Callable[..., Any],
    native: Sealed | None,
    portable: Sealed | None,
    refusal: str,
    names: list[Name],
) -> None:
    """
    Keep the forms of *function* for as long as it is held.

    Arguments:
        names: The names that were published when it was opened.
    """
    key = id(function)

    def forget(_: Any) -> None:
        _kept.pop(key, None)
        _written.discard(key)

    try:
        held = weakref.ref(function, forget)
    except TypeError:
        return
    if names:
        forms = (
            None if native is None else bytes(native.data),
            None if portable is None else bytes(portable.data),
            refusal,
        )
        _kept[key] = held, forms, names
        _written.discard(key)


def write() -> bool:
    """Write new functions to the memory file. Return False if there cannot be one."""
    global _file
    with _lock:
        if _file is None:
            if not hasattr(os, "memfd_create"):
                return False
            # A memory file cannot be left behind, however this process ends.
            memory = os.memfd_create("fal-core-functions", os.MFD_CLOEXEC)
            _file = open(memory, "ab")  # noqa: SIM115  # it lives as long as the process
        os.environ[VARIABLE] = f"/proc/{os.getpid()}/fd/{_file.fileno()}"
        for key, (_, forms, names) in list(_kept.items()):
            if key not in _written:
                record = marshal.dumps((names, forms), 2)
                _file.write(len(record).to_bytes(8, "little") + record)
                _written.add(key)
        _file.flush()
        return True


def read() -> frozenset[str]:
    """Read the memory file, in a child. Return the modules that its names belong to."""
    try:
        with open(os.environ[VARIABLE], "rb") as file:
            while head := file.read(8):
                names, forms = marshal.loads(file.read(int.from_bytes(head, "little")))
                _places.update(dict.fromkeys(map(tuple, names), len(_forms)))
                _forms.append(forms)
    except (KeyError, OSError):
        pass
    return frozenset(module for module, _ in _places)


def open_named(open_forms: Callable[..., Any], module: str, name: str) -> None:
    """Open, in a child, the function that *name* of *module* came with, by *open_forms*."""
    place = _places.get((module, name))
    forms = None if place is None else _forms[place]
    if place is None or forms is None:
        return
    _forms[place] = None
    _held.append(open_forms(*forms))
