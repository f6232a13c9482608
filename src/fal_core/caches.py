"""
Caches: the directory of what fal-core has built, and results kept in memory.

Workers write to that directory too, and have no fal_core: the path comes from their code.
"""

from __future__ import annotations

import functools
import inspect
import sys
import warnings
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from fal_core_worker.archives import CACHE_VARIABLE, cache_root

__all__ = ["CACHE_VARIABLE", "cache_root", "cached"]

ArgsT = ParamSpec("ArgsT")
ReturnT = TypeVar("ReturnT")


def cached(func: Callable[ArgsT, ReturnT]) -> Callable[ArgsT, ReturnT]:
    """
    Cache the result of the given function in-memory.

    Results live as long as the process that computed them: a warm worker calls
    *func* once for each set of arguments, which must be hashable. Functions of
    the same source share their results. A function without source is returned
    as it is, with a warning.
    """
    try:
        source = inspect.getsource(func)
    except (OSError, TypeError):
        name = getattr(func, "__name__", "function")
        warnings.warn(f"{name} has no source, so its results are not cached.", stacklevel=2)
        return func
    # It loads OpenSSL, which only functions that cache need.
    from hashlib import sha256

    key = sha256(source.encode()).hexdigest()

    @functools.wraps(func)
    def wrapper(*args: ArgsT.args, **kwargs: ArgsT.kwargs) -> ReturnT:
        # The results have to outlive functions that are opened anew, so they are kept
        # in a module of the standard library.
        store: dict[str, Any] = sys.__dict__.setdefault("_fal_core_cached", {})
        if key not in store:
            store[key] = functools.lru_cache(maxsize=None)(func)
        result: ReturnT = store[key](*args, **kwargs)
        return result

    return wrapper
