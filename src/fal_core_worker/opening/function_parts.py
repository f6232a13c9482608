"""
The parts of functions that travel by value, as they are made when a function is opened.

Functions are pickled by cloudpickle, which takes as long to import as an interpreter to
start. The pickle refers to this module, so most functions are opened without it.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence

from fal_core_worker.opening.origins import publish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def make_function(
    code: types.CodeType, space: dict[str, Any], name: str | None, defaults: None, closure: Any
) -> types.FunctionType:
    """
    Make a function. Its defaults, globals and cells are filled by :func:`fill_function`.

    Arguments:
        space: Its globals, which the functions of one module share.

        closure: A cell for each of its free variables.
    """
    space["__builtins__"] = __builtins__
    return types.FunctionType(code, space, name, defaults, closure)


def fill_function(
    function: types.FunctionType, state: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    """
    Fill a function that was just made, and publish it under its name.

    Arguments:
        state: The attributes that the user has set, and those of every function, with
            ``__globals__`` and ``__closure__``.
    """
    attributes, parts = state
    for name, value in parts.items():
        if name == "__globals__":
            function.__globals__.update(value)
        elif name == "__closure__":
            _fill_cells(function, value or ())
        elif name != "_cloudpickle_submodules":
            # These modules are imported by now, and are not part of the function.
            setattr(function, name, value)
    function.__dict__.update(attributes)
    publish(function)


def _fill_cells(function: types.FunctionType, cells: Sequence[types.CellType]) -> None:
    for own, cell in zip(function.__closure__ or (), cells, strict=True):
        try:
            own.cell_contents = cell.cell_contents
        except ValueError:
            # The cell is empty.
            pass


def make_cell(*contents: Any) -> types.CellType:
    """Make a cell that holds the given object, or an empty one."""
    return types.CellType(*contents)


def make_forward_reference(text: str, is_argument: bool) -> Any:
    """Make a reference to what *text* will stand for."""
    from typing import ForwardRef

    return ForwardRef(text, is_argument=is_argument)


def make_union(*members: Any) -> Any:
    """Make the type of what is one of *members*."""
    from functools import reduce
    from operator import or_

    try:
        return reduce(or_, members)
    except TypeError:
        from typing import Union

        return Union[members]  # noqa: UP007, they cannot be joined by "|"


def find_builtin_type(name: str) -> Any:
    """Return the type that is called *name* in the module ``types``."""
    return getattr(types, name)


def import_module(name: str) -> types.ModuleType:
    """Import the module *name* and return it, where ``__import__`` returns its package."""
    __import__(name)
    return sys.modules[name]
