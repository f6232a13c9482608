"""
Libraries whose values hold memory: for which values there is a better way than their own.

Nothing here imports a library. A process that has values of one has imported it, and the
process in which they are opened imports it then.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any

#: Bytes: buffers of at least this size travel beside the pickle, and are not copied.
BUFFER_SIZE = 1 << 16

#: Reduces a value, given the storages of the tensors that are pickled with it. It returns
#: NotImplemented where the library's own way is to be taken.
Reducer = Callable[[Any, dict[int, Any]], Any]

#: By library, the public classes of such values, and the module and function that reduce
#: them and values of their subclasses.
_CLASSES = {
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


class LateBytes(bytearray):
    """
    Bytes that are written after they were pickled: they travel as a buffer, however few.
    """


def imported_libraries() -> tuple[str, ...]:
    """
    Return the libraries that this process has imported.
    """
    modules = sys.modules
    return tuple(name for name in _CLASSES if name in modules)


def find_reducer(kind: type, libraries: Iterable[str]) -> Reducer | None:
    """
    Return what reduces values of *kind*, if it belongs to one of the *libraries*.
    """
    for library in libraries:
        for name, module, function in _CLASSES[library]:
            try:
                found = attrgetter(name)(sys.modules[library])
            except (AttributeError, KeyError):
                continue  # Another thread is importing it, or it has none.
            if isinstance(found, type) and issubclass(kind, found):
                reducers = importlib.import_module(f"fal_core_worker.buffers.{module}")
                reduce: Reducer = getattr(reducers, function)
                return reduce
    return None
