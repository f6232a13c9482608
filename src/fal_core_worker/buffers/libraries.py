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


# The libraries that were imported when this was last looked at, and their classes, with the
# module and function of each.
_imported: tuple[str, ...] = ()
_classes: tuple[type, ...] = ()
_entries: list[tuple[type, str, str]] = []


class LateBytes(bytearray):
    """
    Bytes that are written after they were pickled: they travel as a buffer, however few.
    """


def memory_classes() -> tuple[type, ...]:
    """
    Return the classes of the libraries that this process has imported.
    """
    global _imported, _classes, _entries
    modules = sys.modules
    imported = tuple([name for name in _LIBRARIES if name in modules])
    if imported != _imported:
        _entries = entries = [
            (found, module, function)
            for library in imported
            for name, module, function in _LIBRARIES[library]
            if (found := _find_class(library, name)) is not None
        ]
        _classes = tuple(found for found, _, _ in entries)
        # While one is being imported by another thread, it is looked at again.
        whole = len(entries) == sum(len(_LIBRARIES[library]) for library in imported)
        _imported = imported if whole else ()
    return _classes


def _find_class(library: str, name: str) -> type | None:
    try:
        found = attrgetter(name)(sys.modules[library])
    except (AttributeError, KeyError):
        return None
    return found if isinstance(found, type) else None


def find_reducer(kind: type) -> Reducer:
    """
    Return what reduces values of *kind*, a subclass of one of :func:`memory_classes`.
    """
    module, function = next(
        (module, function) for found, module, function in _entries if issubclass(kind, found)
    )
    reducers = importlib.import_module(f"fal_core_worker.buffers.{module}")
    reduce: Reducer = getattr(reducers, function)
    return reduce
