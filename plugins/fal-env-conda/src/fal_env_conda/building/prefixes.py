"""
Prefixes: the directories that environments are built in, which is where they stay.

Files of conda packages contain the path of their prefix, so none is moved once it is
whole. Its marker is written last: a prefix without one is a leftover, unless somebody
holds its lock, and nobody uses it.

All is in the directory ``conda`` below the cache root::

    solutions/<digest>.json   the packages that were chosen for a question
    prefixes/<digest>/        an environment
    locks/<digest>.lock       locked by the process that solves or builds
    trash/                    prefixes that are being removed
    machine.json              the virtual packages of this machine
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import attrs

from fal_core.caches import (
    ForeignCache,
    cache_directory,
    is_descriptor_of,
    is_locked,
    try_lock,
    unlock,
    write_durably,
)
from fal_core.errors import Cancelled, HostError
from fal_core.reprs import show_fields

#: A file that is written last.
_COMPLETE = ".fal-core-complete"
#: A file on which each process that uses the prefix holds a shared lock.
_IN_USE = ".fal-core-in-use"
_PATIENCE = 0.02

# The locks of the prefixes that this process uses, by path.
_in_use: dict[str, int] = {}
os.register_at_fork(after_in_child=_in_use.clear)


def conda_root(*, make: bool = False) -> str:
    """
    Return the directory of everything that this plugin keeps.

    Raises:
        HostError: It belongs to another user, who could change what is run from it.
    """
    try:
        return cache_directory("conda", make=make)
    except ForeignCache as error:
        raise HostError(str(error)) from None


@attrs.frozen(kw_only=True)
class Contents:
    """
    What is in a prefix that is whole, as its marker says.

    Attributes:
        path: Directories that its programs find before those of ``PATH``.

        variables: What activating it sets.

        packages: The names of the files in ``conda-meta``.

        pins: What pip requirements brought, as lines of a requirements file.
    """

    __repr__ = show_fields

    python_version: str
    path: tuple[str, ...] = ()
    variables: dict[str, str] = attrs.field(factory=dict)
    packages: tuple[str, ...] = ()
    pins: tuple[str, ...] = ()
    created: float = attrs.field(factory=time.time)


@attrs.frozen
class Prefix:
    """
    The prefix of one environment, whether it exists or not.
    """

    __repr__ = show_fields

    name: str

    @property
    def directory(self) -> str:
        """
        Where it is.
        """
        return os.path.join(conda_root(), "prefixes", self.name)

    @property
    def executable(self) -> str:
        """
        Its Python.
        """
        return os.path.join(self.directory, "bin", "python")

    def library(self, python_version: str) -> str:
        """
        Return where its Python finds packages.
        """
        minor = ".".join(python_version.split(".")[:2])
        return os.path.join(self.directory, "lib", f"python{minor}", "site-packages")

    def read(self) -> Contents | None:
        """
        Return what is in it. None if it is not whole, as far as a quick look shows.
        """
        try:
            with open(os.path.join(self.directory, _COMPLETE), encoding="utf-8") as stream:
                contents = _structure(json.load(stream))
            there = set(os.listdir(os.path.join(self.directory, "conda-meta")))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        whole = there.issuperset(contents.packages) and os.access(self.executable, os.X_OK)
        return contents if whole else None

    def finish(self, contents: Contents) -> None:
        """
        Mark it as whole.
        """
        with open(os.path.join(self.directory, _IN_USE), "w"):
            pass
        text = json.dumps(attrs.asdict(contents), indent=1)
        write_durably(os.path.join(self.directory, _COMPLETE), text)

    def take(self) -> Contents | None:
        """
        Mark it as used by this process until the process ends, and return what is in it.

        None if it is not whole.
        """
        lock = os.path.join(self.directory, _IN_USE)
        known = _in_use.get(self.directory)
        if known is None or not is_descriptor_of(known, lock):
            try:
                descriptor = try_lock(lock, shared=True)
            except OSError:
                return None
            if descriptor is None:
                return None  # It is being removed.
            other = _in_use.get(self.directory)
            _in_use[self.directory] = descriptor
            if other is not None:
                unlock(other)
        return self.read()

    def discard(self, *, aside: bool = False) -> None:
        """
        Remove it: it is moved to the trash first, and then deleted.

        Arguments:
            aside: Whether to delete it in another thread.
        """
        release(self.directory)
        trash = os.path.join(conda_root(), "trash")
        moved = os.path.join(trash, os.urandom(8).hex())
        try:
            os.makedirs(trash, exist_ok=True)
            os.rename(self.directory, moved)
        except FileNotFoundError:
            return
        if aside:
            Thread(target=shutil.rmtree, args=(moved, True), daemon=True).start()
        else:
            shutil.rmtree(moved, ignore_errors=True)


def _structure(loaded: dict[str, Any]) -> Contents:
    for name in ("path", "packages", "pins"):
        loaded[name] = tuple(loaded[name])
    return Contents(**loaded)


def release(directory: str) -> None:
    """
    Undo what :meth:`Prefix.take` did in this process for the prefix *directory*.
    """
    descriptor = _in_use.pop(directory, None)
    if descriptor is not None:
        unlock(descriptor)


def release_all() -> None:
    """
    Undo all that :meth:`Prefix.take` did in this process.
    """
    for directory in list(_in_use):
        release(directory)


def lock_path(name: str) -> str:
    """
    Return the path of the lock of what has the digest *name*.
    """
    return os.path.join(conda_root(), "locks", f"{name}.lock")


@contextmanager
def locked(name: str, cancelled: Event, on_wait: Callable[[], None]) -> Iterator[None]:
    """
    Hold the lock of what has the digest *name*.

    Arguments:
        on_wait: Called once if another thread or process holds it.

    Raises:
        Cancelled: *cancelled* was set meanwhile.
    """
    path = lock_path(name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    waited = False
    while (descriptor := try_lock(path, shared=False, create=True)) is None:
        if not waited:
            waited = True
            on_wait()
        if cancelled.wait(_PATIENCE):
            raise Cancelled("The call was cancelled while it waited for another build.")
    try:
        yield
    finally:
        unlock(descriptor)


def sweep() -> None:
    """
    Remove what killed builds left behind, and the trash.
    """
    root = conda_root()
    for name in _names(os.path.join(root, "prefixes")):
        prefix = Prefix(name)
        marker = os.path.join(prefix.directory, _COMPLETE)
        if os.path.exists(marker) or is_locked(lock_path(name)):
            continue
        prefix.discard()
    for name in _names(os.path.join(root, "trash")):
        shutil.rmtree(os.path.join(root, "trash", name), ignore_errors=True)


def _names(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []
