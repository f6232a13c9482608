"""Calls of an executor: of functions that come with them, after its initializer."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FunctionType, MethodType, ModuleType
from weakref import WeakSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SAME_EVERYWHERE = (FunctionType, ModuleType, type)


class InitializerFailed(Exception):
    """The initializer of an executor failed; the cause is what it raised."""


class Initializer:
    """
    The setup function of an executor, which calls its initializer.

    Arguments:
        module: The module that travels by value with it.

        number: Executors of different numbers share no workers.
    """

    def __init__(
        self, func: Callable[..., Any], args: tuple[Any, ...], *, module: str, number: str
    ) -> None:
        # The modules that the initializer needs are found through it.
        self.func = func
        self.__module__ = module
        self.__qualname__ = getattr(func, "__qualname__", type(func).__qualname__)
        self._args = args
        self._number = number

    def __call__(self) -> Initialized:
        try:
            self.func(*self._args)
        except (Exception, SystemExit) as error:
            return Initialized({}, error)
        return Initialized(variables_of(self.func))


class Initialized:
    """
    What an initializer has left in its worker.

    Arguments:
        variables: The global variables of a module that travels by value, by its name.

        error: What the initializer raised.
    """

    def __init__(
        self, variables: dict[str, dict[str, Any]], error: BaseException | None = None
    ) -> None:
        self._variables = variables
        self._error = error
        self._told: WeakSet[FunctionType] = WeakSet()

    def prepare(self, func: Callable[..., Any]) -> None:
        """
        Let *func* see the global variables that the initializer of its module has set.

        Raises:
            InitializerFailed: There are none, since it failed.
        """
        if self._error is not None:
            raise InitializerFailed from self._error
        function = _underlying(func)
        if function is None or not self._variables or function in self._told:
            return
        self._told.add(function)
        space = function.__globals__
        space.update(self._variables.get(space.get("__name__", ""), {}))


class Pooled:
    """
    A function of an executor, called as one that has an initializer or travels by reference.

    Arguments:
        module: The module that travels by value with it.

        initialized: Whether what its initializer has left is the first argument of each call.
    """

    def __init__(self, func: Callable[..., Any], *, module: str, initialized: bool) -> None:
        self.func = func
        self.__module__ = module
        self.__name__ = getattr(func, "__name__", type(func).__name__)
        self.__qualname__ = getattr(func, "__qualname__", self.__name__)
        if func is call:
            # What comes with a call is said to be of what it was given to.
            self.__name__ = self.__qualname__ = "Executor.submit"
        self._initialized = initialized

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        if self._initialized:
            initialized, args = args[0], args[1:]
            # A function that comes with the call is its first argument.
            initialized.prepare(args[0] if self.func is call else self.func)
        return self.func(*args, **kwargs)


def call(func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call *func*, which has come with the call."""
    return func(*args, **kwargs)


def variables_of(func: Callable[..., Any]) -> dict[str, dict[str, Any]]:
    """
    Return the global variables that *func* refers to, by the name of its module.

    There are none for a module that was imported: all its functions see the same ones.
    """
    function = _underlying(func)
    if function is None:
        return {}
    space = function.__globals__
    name = str(space.get("__name__", ""))
    if getattr(sys.modules.get(name), "__dict__", None) is space:
        return {}
    return {
        name: {
            each: value
            for each, value in space.items()
            if not each.startswith("__") and not isinstance(value, _SAME_EVERYWHERE)
        }
    }


def _underlying(func: Any) -> FunctionType | None:
    while func is not None and not isinstance(func, FunctionType):
        func = func.__func__ if isinstance(func, MethodType) else getattr(func, "func", None)
    function: FunctionType | None = func
    return function
