"""
Results that a process keeps in memory: those of functions under ``cached``.

They outlive functions that are opened anew: those of equal source and equal values around
it find the results of one another.
"""

from __future__ import annotations

import os
import threading
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from concurrent.futures import Future
    from typing import Any, ParamSpec, TypeVar

    ArgsT = ParamSpec("ArgsT")
    ReturnT = TypeVar("ReturnT")

# Imports inside functions: ``import fal_core`` is light, and so is the start of a worker.

#: How many sets of values around one function have results, those last used.
MOST_KEPT = 32
# By what stands for the name and source of a function, and by the values around it.
_kept: dict[str, OrderedDict[Any, Results]] = {}
_found: weakref.WeakKeyDictionary[Callable[..., Any], Results] = weakref.WeakKeyDictionary()


def cached(func: Callable[ArgsT, ReturnT]) -> Callable[ArgsT, ReturnT]:
    """
    Cache the result of the given function in-memory.

    Results live as long as the process that computed them: a warm worker calls *func* once
    for each set of arguments, which must be hashable. Calls that come meanwhile wait for
    that one; if it fails, nothing is kept. Functions of the same name, source and code share
    their results if their defaults and the variables of enclosing functions are equal; where
    these take many values, the results of the 32 last used are kept. A function without
    source is returned as it is, with a warning.

    Raises:
        ValueError: *func* is a generator function: what it yields can be taken once.
    """
    import hashlib
    import inspect
    from functools import wraps

    name = getattr(func, "__qualname__", "function")
    if inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func):
        raise ValueError(
            f"{name} is a generator function, and what it yields can be taken once. "
            "Have it return a list to cache it."
        )
    try:
        source = inspect.getsource(func)
    except (OSError, TypeError):
        warnings.warn(f"{name} has no source, so its results are not cached.", stacklevel=2)
        return func
    # Several lambdas may stand in one line of source.
    code = _describe(getattr(func, "__code__", None))
    text = f"{func.__module__}\0{name}\0{source}\0{code}"
    key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    if inspect.iscoroutinefunction(func):

        @wraps(func)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            return await find_results(key, func).await_one(func, args, kwargs)

        return awaited  # type: ignore[return-value]  # a coroutine function, as func is

    @wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return find_results(key, func).get(func, args, kwargs)

    return wrapper


def _describe(value: Any) -> Any:
    """
    Return what tells *value* apart from other code, or from another constant of it, also when
    it is opened anew.
    """
    if hasattr(value, "co_consts"):
        return value.co_code, value.co_names, [*map(_describe, value.co_consts)]
    if isinstance(value, frozenset):
        return sorted(map(repr, value))
    return repr(value)


class _Abandoned(Exception):
    """The call that others wait for was ended from outside, so that another has to be made."""


class _Load:
    """One call of a function, and the thread or task that makes it."""

    def __init__(self, maker: Any) -> None:
        from concurrent.futures import Future

        self.maker = maker
        self.future: Future[Any] = Future()
        # A waiting task that is cancelled does not cancel it.
        self.future.set_running_or_notify_cancel()


class Results:
    """
    The results of one function, by its arguments.

    Arguments:
        identity: What stands for the values around it.

        held: What must stay in memory for that.
    """

    def __init__(self, identity: Any = None, held: Any = None) -> None:
        self.identity = identity
        # Values that are told apart by their place in memory must stay there.
        self._held = held
        self._loads: dict[Any, _Load] = {}

    def get(self, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Return what *func* returns for these arguments, calling it if no other call has."""
        maker = threading.get_ident()
        key = args, frozenset(kwargs.items())
        while True:
            load = self._loads.get(key)
            if load is None:
                new = _Load(maker)
                # From here on, any exception ends the wait of others.
                try:
                    load = self._loads.setdefault(key, new)
                    if load is new:
                        result = func(*args, **kwargs)
                        new.future.set_result(result)
                        return result
                except BaseException as error:
                    self._forget(key, new, error)
                    raise
            if load.maker == maker and not load.future.done():
                # It has called itself with the same arguments.
                return func(*args, **kwargs)
            try:
                return load.future.result()
            except _Abandoned:
                continue

    async def await_one(self, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Return what *func*, a coroutine function, returns for these arguments."""
        import asyncio

        maker = asyncio.current_task()
        key = args, frozenset(kwargs.items())
        while True:
            load = self._loads.get(key)
            if load is None:
                new = _Load(maker)
                try:
                    load = self._loads.setdefault(key, new)
                    if load is new:
                        result = await func(*args, **kwargs)
                        new.future.set_result(result)
                        new.maker = None
                        return result
                except BaseException as error:
                    self._forget(key, new, error)
                    raise
            done = load.future.done()
            if load.maker is maker and not done:
                return await func(*args, **kwargs)
            try:
                return load.future.result() if done else await asyncio.wrap_future(load.future)
            except _Abandoned:
                continue

    def _forget(self, key: Any, load: _Load, error: BaseException) -> None:
        """
        Forget the call *load*, which has failed. Those who wait for it share an error of
        the function; if it was ended from outside, another of them makes the call.
        """
        if self._loads.get(key) is load:
            del self._loads[key]
        if not load.future.done():
            load.future.set_exception(error if isinstance(error, Exception) else _Abandoned())

    def forget_unfinished(self) -> None:
        """Forget the calls that are being made."""
        self._loads = {key: load for key, load in self._loads.items() if load.future.done()}


def find_results(key: str, func: Any) -> Results:
    """
    Return the results that *func*, and functions equal to it, share.

    Arguments:
        key: What stands for its name and source.
    """
    kept = _kept.get(key)
    if kept is None:
        kept = _kept.setdefault(key, OrderedDict())
    found = _found.get(func)
    is_new = found is None
    if found is None:
        around = [_content(cell) for cell in getattr(func, "__closure__", None) or ()]
        # A class has none of these, and a method the object that it belongs to.
        for name in ("__defaults__", "__kwdefaults__", "__self__"):
            around.append(getattr(func, name, None))
        found = Results(*_identify(around))
    # It may be there already, or not any more.
    shared = kept.setdefault(found.identity, found)
    if shared is not found or is_new:
        _found[func] = shared
    try:
        kept.move_to_end(shared.identity)
        if len(kept) > MOST_KEPT:
            kept.popitem(last=False)
    except KeyError:
        pass  # Other threads have used so many others meanwhile.
    return shared


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _identify(values: list[Any]) -> tuple[Any, Any]:
    """Return what equal *values* share and others do not, and what has to be held for it."""
    if all(value is None for value in values):
        return None, None
    import hashlib
    import io

    from cloudpickle import cloudpickle

    class Contents(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
        def reducer_override(self, value: Any) -> Any:
            # Otherwise two files of equal contents would be equal.
            if isinstance(value, io.IOBase):
                raise TypeError("An open file is equal to itself alone.")
            return super().reducer_override(value)

    file = io.BytesIO()
    try:
        Contents(file).dump(values)
    except Exception:
        # Such as an open connection, which is equal to itself alone.
        return tuple(map(id, values)), values
    return hashlib.sha256(file.getbuffer()).hexdigest(), None


def _forget_other_threads() -> None:
    # Those that are kept no longer may still be in use.
    for results in (
        *_found.values(),
        *(each for kept in _kept.values() for each in kept.values()),
    ):
        results.forget_unfinished()


# In a forked child no thread goes on that could finish a call.
os.register_at_fork(after_in_child=_forget_other_threads)
