"""
Caches: what is kept on disk, how it is written, and results kept in memory.

Workers write to that directory too, and have no fal_core: the path comes from their code.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from fal_core.digests import digest
from fal_core_worker.archives import CACHE_VARIABLE, cache_root

__all__ = [
    "CACHE_VARIABLE",
    "cache_root",
    "cached",
    "new_file",
    "remove_quietly",
    "write_atomically",
    "write_durably",
]

ArgsT = ParamSpec("ArgsT")
ReturnT = TypeVar("ReturnT")


def write_atomically(
    path: str | Path, content: str | bytes, *, mode: int = 0o644, durable: bool = True
) -> None:
    """
    Write *content* to a new file, and rename it to *path*: readers see a whole file.

    Arguments:
        mode: The permissions of the file, less those that the process gives to none.

        durable: Whether the content is on the disk before the file is renamed, so that a
            loss of power leaves the old file or the new one.
    """
    with new_file(path) as new:
        _write(new, content, mode, durable=durable)
        os.replace(new, path)


def write_durably(path: str | Path, content: str | bytes) -> None:
    """
    Write *content* to *path*, and return once it is on the disk.
    """
    _write(path, content, 0o644, durable=True)


@contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """
    Choose the path of a file beside *path*, to be written and then renamed.

    At the end of the context the file is removed, unless it was renamed.
    """
    new = f"{path}.{os.urandom(8).hex()}.new"
    try:
        yield Path(new)
    finally:
        remove_quietly(new)


def remove_quietly(path: str | Path) -> None:
    """
    Remove the file *path*, if it exists and can be removed.
    """
    try:
        os.unlink(path)
    except OSError:
        pass


def _write(path: str | Path, content: str | bytes, mode: int, *, durable: bool) -> None:
    data = content.encode() if isinstance(content, str) else content
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    with open(os.open(path, flags, mode), "wb") as file:
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())


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
    key = digest(source.encode())

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
