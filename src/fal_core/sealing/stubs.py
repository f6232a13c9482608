"""
Stubs: what stands in a worker for an isolated function that another one has captured.

A stub needs the standard library alone. If both functions have the same place, it
carries the function's code and runs it there; otherwise its calls come home, to this
process.
"""

from __future__ import annotations

import itertools
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from fal_core.declaring.declaration import Declaration


class Isolated(Protocol):
    """An isolated function, as far as stubs need it."""

    @property
    def declaration(self) -> Declaration: ...

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any: ...

    def make_launcher(self) -> Any: ...


Reduced = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]

#: How instances of a type travel if a function that is sealed refers to them.
stub_reducers: dict[type, Callable[[Any], tuple[Any, ...]]] = {}

_numbers = itertools.count(1)
_functions: weakref.WeakValueDictionary[int, Isolated] = weakref.WeakValueDictionary()
_sealing = threading.local()


def stub(*kinds: type) -> None:
    """Have instances of *kinds*, which are isolated functions, travel as stubs."""
    for kind in kinds:
        stub_reducers[kind] = reduce_function


def find_function(number: int) -> Isolated | None:
    """Return the isolated function that a worker knows by *number*; None if it is gone."""
    return _functions.get(number)


@contextmanager
def sealing(outer: Declaration) -> Iterator[None]:
    """Have functions that are captured meanwhile become stubs of the function of *outer*."""
    before = getattr(_sealing, "outer", None)
    _sealing.outer = outer
    try:
        yield
    finally:
        _sealing.outer = before


def reduce_function(inner: Isolated) -> Reduced:
    """Reduce *inner*, which the function that is being sealed has captured, to a stub."""
    from fal_core_worker.opening.stubs import make_stub

    declared = inner.declaration
    outer: Declaration | None = getattr(_sealing, "outer", None)
    # A service has a worker of its own, wherever it is called, and what a setup function
    # returns is in the workers of its own function.
    # A call over several nodes is more than what runs in one worker.
    in_place = (
        outer is not None
        and not declared.is_service
        and _nodes(declared) == _nodes(outer) == 1
        and declared.options.host.get("setup_function") is None
        and _place(declared) == _place(outer)
    )
    state = {"function": declared.raw_func if in_place else None}
    return make_stub, (_number_of(inner), declared.name), state


def _reduce_lazy_import(value: Any) -> tuple[Any, ...]:
    from fal_core_worker.importing.lazy_imports import reduce_lazy_import

    return reduce_lazy_import(value)


# Python 3.15 has them.
_lazy_import = getattr(types, "LazyImportType", None)
if _lazy_import is not None:
    stub_reducers[_lazy_import] = _reduce_lazy_import


def _number_of(function: Isolated) -> int:
    """Return the number by which a worker calls *function* at home."""
    number: int | None = function.__dict__.get("_home_number")
    if number is None:
        number = function.__dict__["_home_number"] = next(_numbers)
    _functions[number] = function
    return number


def _nodes(declared: Declaration) -> int:
    return declared.options.host.get("nodes") or 1


def _place(declared: Declaration) -> tuple[Any, ...]:
    options = declared.options
    machine = {
        key: options.host.get(key) for key in ("machine_type", "machine_types", "num_gpus")
    }
    return id(declared.host.place), options.environment, machine
