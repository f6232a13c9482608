"""Functions made by decorators of the standard library: each is made again when opened."""

from __future__ import annotations

import contextlib
import functools
import types
from collections.abc import Callable
from typing import Any

from fal_core_worker.opening.origins import publish


class Forward:
    """Stands in for the function inside a wrapper, since the function may refer to the wrapper."""

    def __init__(self) -> None:
        self.function: Callable[..., Any] | None = None

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        assert self.function is not None
        return self.function(*args, **kwargs)


_DECORATORS: dict[str, Callable[..., Any]] = {
    "lru_cache": functools.lru_cache,
    "contextmanager": lambda: contextlib.contextmanager,
    "asynccontextmanager": lambda: contextlib.asynccontextmanager,
    "singledispatch": lambda: functools.singledispatch,
}


# A wrapper is recognised by its code, which all wrappers of one decorator share.
_NAMES: dict[types.CodeType, str] = {
    _DECORATORS[name]()(Forward()).__code__: name for name in _DECORATORS if name != "lru_cache"
}


def reduce_decorated(function: Any) -> Any:
    """Reduce what a decorator made, or return None."""
    if isinstance(function, functools.cached_property):
        # In some Pythons it holds a lock, which cannot be pickled.
        return make_cached_property, (function.func, function.attrname)
    if not isinstance(function, types.FunctionType):
        # The cache stays behind.
        parameters = function.cache_parameters()
        arguments = ("lru_cache", parameters["maxsize"], parameters["typed"])
        return make_wrapper, arguments, (function.__wrapped__, {}), None, None, fill_wrapper
    name = _NAMES.get(function.__code__)
    if name is None:
        return None
    inner = getattr(function, "__wrapped__", None)
    registry = dict(getattr(function, "registry", ()))
    inner = registry.pop(object, inner)
    return make_wrapper, (name,), (inner, registry), None, None, fill_wrapper


def make_wrapper(name: str, *arguments: Any) -> Any:
    """Make a wrapper without its function, which :func:`fill_wrapper` gives it."""
    forward = Forward()
    wrapper = _DECORATORS[name](*arguments)(forward)
    wrapper.__forward__ = forward
    return wrapper


def fill_wrapper(wrapper: Any, state: tuple[Any, dict[type, Any]]) -> None:
    """Give the wrapper its function, and the functions registered for other types."""
    function, registered = state
    wrapper.__forward__.function = getattr(function, "function", function)
    functools.update_wrapper(wrapper, function)
    for kind, other in registered.items():
        wrapper.register(kind, other)
    publish(wrapper)


def make_cached_property(function: Callable[..., Any], name: str | None) -> Any:
    """Make a cached property."""
    made = functools.cached_property(function)
    if name is not None:
        made.__set_name__(object, name)
    return made
