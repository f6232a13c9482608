"""
A stand-in for ``fal_core`` in an environment that does not have it.

The function itself travels by value, without the imports of its module. But modules that
travel as source may import ``fal_core`` and declare isolated functions.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class DeclaredInWorker:
    """An isolated function that a module declared as it was imported in a worker."""

    def __init__(self, func: Callable[..., Any]) -> None:
        self.func = self.raw_func = func
        self.__name__ = getattr(func, "__name__", type(func).__name__)
        self.__doc__ = func.__doc__

    def __repr__(self) -> str:
        return f"<isolated function {self.__name__} declared in a worker>"

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            f"Isolated function {self.__name__!r} was declared in a worker, which has no home "
            "for it. Import it where the calling function is defined, not inside it, or call "
            "its run_local()."
        )

    def on(self, /, *args: Any, **kwargs: Any) -> DeclaredInWorker:
        """Return the function unchanged: there are no hosts here."""
        return self

    def run_local(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function here."""
        return self.func(*args, **kwargs)


def make_decorator() -> Callable[[Callable[..., Any]], DeclaredInWorker]:
    """Return what a decorator of ``fal_core`` that travels becomes in a worker."""
    return DeclaredInWorker


def _function(*args: Any, **config: Any) -> Callable[[Callable[..., Any]], DeclaredInWorker]:
    return DeclaredInWorker


def _make(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)

    if name == "imports":
        from fal_core_worker.importing.blocks import Block

        return Block

    def refuse(self: Any, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError(
            f"fal_core.{name} is not there in a worker whose environment has no fal-core. "
            "Add fal-core to requirements to use it inside a function."
        )

    # A class, so that modules can catch it, subclass it and use it in annotations.
    return type(name, (Exception,), {"__init__": refuse, "__module__": "fal_core"})


class _Finder:
    # It comes last in ``sys.meta_path``, so that an installed fal_core is found first. It
    # finds submodules too, since code refers to a name by the module that defines it.
    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: Any = None
    ) -> ModuleSpec | None:
        if name == "fal_core" or (
            name.startswith("fal_core.") and _is_stand_in(sys.modules.get("fal_core"))
        ):
            # It has the methods of a loader that are needed.
            return ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type]
        return None

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        from fal_core_worker.nodes import Node, current_node
        from fal_core_worker.results import cached

        module = types.ModuleType(spec.name, __doc__)
        there = {"Node": Node, "cached": cached, "current_node": current_node}
        module.__dict__.update(there, function=_function, __getattr__=_make)
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        pass


_finder = _Finder()


def _is_stand_in(module: Any) -> bool:
    # If fal_core is installed, a submodule that it lacks is missing like any other.
    return getattr(getattr(module, "__spec__", None), "loader", None) is _finder


def install() -> None:
    """Have ``import fal_core`` find the stand-in if fal_core is not installed."""
    if _finder not in sys.meta_path:
        sys.meta_path.append(_finder)
