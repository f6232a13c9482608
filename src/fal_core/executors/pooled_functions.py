"""The functions of an executor: those that are sealed once, and those that travel with each call."""

from __future__ import annotations

import functools
import inspect
import os
import threading
import types
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from fal_core.errors import OptionError
from fal_core_worker.running.pooled import Initializer, Pooled, call

if TYPE_CHECKING:
    from fal_core.calling.launcher import Launcher
    from fal_core.functions import IsolatedFunction

#: How many functions stay sealed.
MOST = 64

#: A module that never travels by value.
_NONE = "builtins"

#: Types whose objects are worth sealing once.
_LASTING = (types.FunctionType, types.BuiltinFunctionType, type, functools.partial)

#: Types of values that do not change.
_CONSTANT = (bool, int, float, complex, str, bytes, type(None), types.FunctionType, type)


class PooledFunctions:
    """
    The functions of one executor.

    A function is sealed once, and stays in the workers, if it is found by its name or is
    submitted again. Others, such as bound methods and partials of values that may change
    between two calls, are arguments of a function that calls them.

    Arguments:
        isolate: Makes a function isolated.

        initialized: Whether the executor has an initializer.
    """

    def __init__(self, isolate: Callable[[Any], Any], *, initialized: bool) -> None:
        self._isolate = isolate
        self._initialized = initialized
        self._lock = threading.Lock()
        self._sealed: OrderedDict[int, tuple[Any, IsolatedFunction[..., Any]]] = OrderedDict()
        self._seen: OrderedDict[int, Any] = OrderedDict()
        self._any: IsolatedFunction[..., Any] | None = None

    def find(self, func: Callable[..., Any]) -> tuple[Launcher, bool]:
        """Return the launcher of calls of *func*, and whether *func* is their first argument."""
        with self._lock:
            found = self._sealed.get(id(func))
            if found is not None:
                self._sealed.move_to_end(id(func))
                isolated, is_argument = found[1], False
            elif inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func):
                raise OptionError(f"{func!r} yields, and has no one result. Return a list.")
            elif isinstance(func, _LASTING) and self._is_lasting(func):
                isolated, is_argument = self._keep(func), False
            else:
                if self._any is None:
                    self._any = self._make(call)
                isolated, is_argument = self._any, True
        return isolated.make_launcher(), is_argument

    def _is_lasting(self, func: Any) -> bool:
        if isinstance(func, functools.partial):
            if not _is_constant(func):
                return False
        else:
            if isinstance(func, types.BuiltinFunctionType):
                return _is_of_module(func)
            if "<" not in func.__qualname__:
                return True
        seen = self._seen.get(id(func))
        if seen is not None and seen() is func:
            del self._seen[id(func)]
            return True
        self._seen[id(func)] = weakref.ref(func)
        if len(self._seen) > MOST:
            self._seen.popitem(last=False)
        return False

    def _keep(self, func: Any) -> IsolatedFunction[..., Any]:
        isolated = self._make(func)
        self._sealed[id(func)] = func, isolated
        if len(self._sealed) > MOST:
            self._sealed.popitem(last=False)
        return isolated

    def _make(self, func: Callable[..., Any]) -> IsolatedFunction[..., Any]:
        module = _travelling_module(func)
        is_plain = isinstance(func, types.FunctionType) and module != _NONE
        if self._initialized or not (is_plain or isinstance(func, functools.partial)):
            func = Pooled(func, module=module, initialized=self._initialized)
        isolated: IsolatedFunction[..., Any] = self._isolate(func)
        return isolated


def _is_constant(value: Any) -> bool:
    """Tell whether *value* is the same in every call."""
    if isinstance(value, functools.partial):
        return all(map(_is_constant, (value.func, *value.args, *value.keywords.values())))
    if type(value) in (tuple, frozenset):
        return all(map(_is_constant, value))
    if isinstance(value, types.BuiltinFunctionType):
        return _is_of_module(value)
    return type(value) in _CONSTANT or isinstance(value, type)


def _is_of_module(func: types.BuiltinFunctionType) -> bool:
    """Tell whether *func* is a function, and no method, whose object may change."""
    return isinstance(func.__self__, types.ModuleType | None)


def make_setup(initializer: Callable[..., object], initargs: Iterable[Any]) -> Initializer:
    """Return the setup function of an executor, whose workers are no other's."""
    number = os.urandom(8).hex()
    module = _travelling_module(initializer)
    return Initializer(initializer, tuple(initargs), module=module, number=number)


def _travelling_module(func: Callable[..., Any]) -> str:
    """Return the name of the module of *func* if it travels by value with it."""
    from fal_core.sealing.imports import is_installed

    module = getattr(func, "__module__", None)
    return _NONE if not module or is_installed(module) else module
