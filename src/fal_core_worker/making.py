"""
What functions that travel by value are made of, at the end that opens them.

The pickler is cloudpickle's. But its import takes as long as an interpreter does to
start, so that a function which needs nothing else of it is opened without.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder

from fal_core_worker.origins import publish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class SealersFinder:
    """
    Finds the cloudpickle that came with the worker, whatever the environment has.

    Arguments:
        path: Where the worker's modules are.
    """

    def __init__(self, path: str) -> None:
        self._path = [path]

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: Any = None
    ) -> ModuleSpec | None:
        return PathFinder.find_spec(name, self._path) if name == "cloudpickle" else None


def make_function(
    code: types.CodeType, space: dict[str, Any], name: str | None, defaults: None, closure: Any
) -> types.FunctionType:
    """
    Make a function whose defaults and variables are filled in later.

    Arguments:
        space: Its globals, which functions of one module share.

        closure: A cell for each of its free variables.
    """
    space["__builtins__"] = __builtins__
    return types.FunctionType(code, space, name, defaults, closure)


def fill_function(
    function: types.FunctionType, state: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    """
    Fill a function that was just made, and answer for it under its name.

    Arguments:
        state: Its attributes, and what it is made of, ``__globals__`` and
            ``__closure__`` among that.
    """
    attributes, parts = state
    for name, value in parts.items():
        if name == "__globals__":
            function.__globals__.update(value)
        elif name == "__closure__":
            _fill_cells(function, value or ())
        elif name != "_cloudpickle_submodules":
            # Those are imported by now, and no part of the function.
            setattr(function, name, value)
    function.__dict__.update(attributes)
    publish(function)


def _fill_cells(function: types.FunctionType, cells: Sequence[types.CellType]) -> None:
    for own, cell in zip(function.__closure__ or (), cells, strict=True):
        try:
            own.cell_contents = cell.cell_contents
        except ValueError:
            # The variable has no value.
            pass


def make_cell(*contents: Any) -> types.CellType:
    """
    Make a cell with what it holds, if it holds something.
    """
    return types.CellType(*contents)


def find_builtin_type(name: str) -> Any:
    """
    Return the type that the module ``types`` has under *name*.
    """
    return getattr(types, name)


def import_module(name: str) -> types.ModuleType:
    """
    Import the module itself, of a name with dots too.
    """
    __import__(name)
    return sys.modules[name]
