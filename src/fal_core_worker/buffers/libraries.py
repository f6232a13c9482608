"""
Libraries whose values hold memory: for which values there is a better way than their own.

Nothing here imports a library. A process that has values of one has imported it, and the
process in which they are opened imports it then.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from operator import attrgetter
from typing import Any

#: Bytes: buffers of at least this size travel beside the pickle, and are not copied.
BUFFER_SIZE = 1 << 16

#: Reduces a value, given the storages of the tensors that are pickled with it. It returns
#: NotImplemented where the library's own way is to be taken.
Reducer = Callable[[Any, dict[int, Any]], Any]

#: By library, the public classes of such values, and the module and function that reduce
#: them and values of their subclasses.
_LIBRARIES = {
    "numpy": (("ndarray", "arrays", "reduce_array"),),
    "torch": (("Tensor", "tensors", "reduce_tensor"),),
    "pyarrow": (
        ("Array", "tables", "reduce_column"),
        ("ChunkedArray", "tables", "reduce_column"),
        ("RecordBatch", "tables", "reduce_table"),
        ("Table", "tables", "reduce_table"),
    ),
    "pandas": (("arrays.ArrowExtensionArray", "tables", "reduce_pandas_array"),),
}


# The libraries that were imported when this was last looked at, and the reducers of their
# classes.
_imported: tuple[str, ...] = ()
_classes: tuple[type, ...] = ()
_reducers: dict[type, Reducer] = {}


class LateBytes(bytearray):
    """Bytes that are written after they were pickled: they travel as a buffer, however few."""


def memory_classes() -> tuple[type, ...]:
    """Return the classes of the libraries that this process has imported."""
    global _imported, _classes, _reducers
    modules = sys.modules
    imported = tuple([name for name in _LIBRARIES if name in modules])
    if imported != _imported:
        entries = [(library, *entry) for library in imported for entry in _LIBRARIES[library]]
        found: dict[type, Reducer] = {}
        for library, name, module, function in entries:
            kind = _find_class(library, name)
            if kind is not None:
                reducers = importlib.import_module(f"fal_core_worker.buffers.{module}")
                found[kind] = getattr(reducers, function)
        _reducers, _classes = found, tuple(found)
        # While one is being imported by another thread, it is looked at again.
        _imported = imported if len(found) == len(entries) else ()
    return _classes


def _find_class(library: str, name: str) -> type | None:
    try:
        found = attrgetter(name)(sys.modules[library])
    except (AttributeError, KeyError):
        return None
    return found if isinstance(found, type) else None


def find_reducer(kind: type) -> Reducer:
    """Return what reduces values of *kind*, a subclass of one of :func:`memory_classes`."""
    reducers = _reducers
    return reducers.get(kind) or next(
        reduce for found, reduce in reducers.items() if issubclass(kind, found)
    )
