"""
What a worker hands over to child processes that are no forks of it.

Such a child has nothing but what it imports. It is told where the functions of the
worker are, sealed as they came, and opens one when something of it is asked for.
"""

from __future__ import annotations

import marshal
import os
import threading
import weakref
from collections.abc import Callable
from importlib.machinery import ModuleSpec

from fal_core_worker.origins import Name, Origin
from fal_core_worker.seals import Sealed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any

#: The environment variable that says where a child finds the functions.
VARIABLE = "FAL_CORE_WORKER_FUNCTIONS"

#: The native form of a function, the portable one, and why there is none.
Forms = tuple[bytes | None, bytes | None, str]

_lock = threading.Lock()
# What may be handed over, by the identity of the function.
_kept: dict[int, tuple[Any, Forms, list[Name]]] = {}
_written: set[int] = set()
_file: IO[bytes] | None = None

# In a child: where names are, and the forms that have not been opened yet.
_places: dict[Name, int] = {}
_forms: list[Forms | None] = []
# What was opened in a child stays: it is asked for by name alone.
_held: list[Any] = []


class Main(Origin):
    """
    The ``__main__`` of a worker: that of its caller, as far as it has travelled.
    """

    @property
    def __spec__(self) -> ModuleSpec | None:
        # ``multiprocessing`` asks for it as it starts a process that is no fork,
        # which imports the module of that name before anything else.
        return ModuleSpec("fal_core_worker.children", None) if write() else None

    @__spec__.setter
    def __spec__(self, spec: ModuleSpec | None) -> None:
        """
        Do nothing: the module is made without one.
        """


def keep(
    function: Callable[..., Any],
    native: Sealed | None,
    portable: Sealed | None,
    refusal: str,
    names: list[Name],
) -> None:
    """
    Keep the forms of *function*, which publishes *names*, while it is held.
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
        forms = (native and bytes(native.data), portable and bytes(portable.data), refusal)
        _kept[key] = held, forms, names
        _written.discard(key)


def write() -> bool:
    """
    Have what is kept ready for children, and tell whether that is possible.
    """
    global _file
    with _lock:
        if _file is None:
            if not hasattr(os, "memfd_create"):
                return False
            # Nothing of it is left behind, however this process ends.
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
    """
    Learn, in a child, what it was handed, and return the modules it is of.
    """
    try:
        with open(os.environ[VARIABLE], "rb") as file:
            while head := file.read(8):
                names, forms = marshal.loads(file.read(int.from_bytes(head, "little")))
                _places.update(dict.fromkeys(map(tuple, names), len(_forms)))
                _forms.append(forms)
    except (KeyError, OSError):
        pass
    return frozenset(module for module, _ in _places)


def open_place(module: str, name: str) -> None:
    """
    Open, in a child, the function that *name* of *module* came with.
    """
    from fal_core_worker.opening import open_function

    place = _places.get((module, name))
    forms = None if place is None else _forms[place]
    if place is None or forms is None:
        return
    native, portable, refusal = forms
    _forms[place] = None
    _held.append(
        open_function(
            None if native is None else Sealed(native),
            None if portable is None else Sealed(portable),
            refusal,
        )
    )
