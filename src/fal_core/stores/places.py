"""
Places: where the entries of a store of directories are, who uses each, and whether it is whole.

A first call goes through here, so little is imported.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

from fal_core.caches import (
    ForeignCache,
    cache_directory,
    is_descriptor_of,
    is_locked,
    try_lock,
    unlock,
)
from fal_core.errors import HostError

if TYPE_CHECKING:
    from fal_core.stores.stores import Category

#: A file that is written last: the name of the entry, its summary, and its details.
COMPLETE = ".fal-core-complete"
#: A file on which each process that uses the entry holds a shared lock.
IN_USE = ".fal-core-in-use"
#: A file with the bytes that an entry takes on the disk, once somebody has asked.
SIZE = ".fal-core-size"
#: A file that an entry has while it is built where it is to stay: the key of the build.
GUARD = ".fal-core-building"

# The locks of the entries that this process uses, by the entry's path.
_taken: dict[str, int] = {}
os.register_at_fork(after_in_child=_taken.clear)


@attrs.frozen(kw_only=True)
class CacheDirectory:
    """
    A directory of the cache whose entries are directories.

    It contains::

        <name>/             an entry that is whole, or is built in its place
        locks/<key>.lock    locked by the process that builds for the key
        building/           entries that are being built
        trash/              entries that are being removed

    More may be kept beside these.

    Attributes:
        folder: The name of the directory below the cache root.

        kind: The kind of environment whose entries these are.

        category: What the entries are.
    """

    folder: str
    kind: str
    category: Category = "environments"

    @property
    def root(self) -> str:
        """
        The directory of everything that is kept, whether it exists or not.

        Raises:
            HostError: It belongs to another user, who could change what is run from it.
        """
        return self._find_root(make=False)

    def path(self, name: str) -> str:
        """Return the directory of the entry *name*, whether it exists or not."""
        return os.path.join(self.root, name)

    def lock_path(self, key: str) -> str:
        """Return the path of the lock file that the builder of *key* holds."""
        return os.path.join(self.root, "locks", f"{key}.lock")

    def make_directories(self) -> None:
        """Create the directories that a build needs."""
        root = self._find_root(make=True)
        for name in ("locks", "building", "trash"):
            os.makedirs(os.path.join(root, name), exist_ok=True)

    def _find_root(self, *, make: bool) -> str:
        try:
            return cache_directory(self.folder, make=make)
        except ForeignCache as error:
            raise HostError(str(error)) from None

    # -- Finding --------------------------------------------------------------

    def find_fault(self, name: str) -> str | None:
        """
        Say what is wrong with the entry *name*; None if nothing is.

        This is a quick look for what a killed build or a cleaned disk leaves behind.
        """
        path = self.path(name)
        try:
            with open(os.path.join(path, COMPLETE), encoding="utf-8") as stream:
                if stream.readline().strip() != name:
                    return "its marker names another one"
        except FileNotFoundError:
            there = os.path.isdir(path)
            return "its build never finished" if there else "its directory is gone"
        except (OSError, ValueError) as error:
            return f"its marker cannot be read ({error})"
        return None

    def find(self, name: str) -> str | None:
        """
        Return the path of the entry *name*, which this process uses from now on.

        It is None if the entry is not there, or a quick look finds a fault.
        """
        if not self.take(name) or self.find_fault(name) is not None:
            return None
        path = self.path(name)
        try:
            os.utime(os.path.join(path, IN_USE))
        except OSError:
            pass  # The cache may be read-only; only the order of removal suffers.
        return path

    def take(self, name: str) -> bool:
        """
        Mark the entry *name* as used by this process until the process ends.

        Return whether it is there, and is not being removed.
        """
        path = self.path(name)
        lock = os.path.join(path, IN_USE)
        known = _taken.get(path)
        if known is None or not is_descriptor_of(known, lock):
            try:
                descriptor = try_lock(lock, shared=True)
            except OSError:
                return False
            if descriptor is None:
                return False  # It is being removed.
            other = _taken.get(path)
            _taken[path] = descriptor
            if other is not None:
                unlock(other)
        return True

    def release(self, name: str) -> None:
        """Undo what :meth:`take` did in this process for the entry *name*."""
        descriptor = _taken.pop(self.path(name), None)
        if descriptor is not None:
            unlock(descriptor)

    def release_all(self) -> None:
        """Undo all that :meth:`take` did in this process."""
        root = os.path.join(self.root, "")
        for path in list(_taken):
            if path.startswith(root):
                unlock(_taken.pop(path))

    def is_in_use(self, name: str, command_lines: Sequence[bytes]) -> bool:
        """
        Tell whether a process has taken the entry *name*, or runs a program of it.

        A process that outlives the one that launched it has taken nothing, but runs.

        Arguments:
            command_lines: Those of all processes of this machine.
        """
        path = self.path(name)
        inside = os.fsencode(os.path.join(path, ""))
        if any(command.startswith(inside) for command in command_lines):
            return True
        try:
            return is_locked(os.path.join(path, IN_USE))
        except OSError:
            return True  # It cannot be locked, so nothing says that it is free.

    def read_details(self, name: str) -> dict[str, Any]:
        """Return what the build of the entry *name* has noted of it; empty if nothing."""
        return self._read_marker(name)[1]

    def read_summary(self, name: str) -> str:
        """Return what is in the entry *name*, in a few words; empty if nobody says."""
        return self._read_marker(name)[0]

    def _read_marker(self, name: str) -> tuple[str, dict[str, Any]]:
        import json

        try:
            with open(os.path.join(self.path(name), COMPLETE), encoding="utf-8") as stream:
                _, summary, details, *_ = [*stream.read().split("\n"), "", "{}"]
            return summary, dict(json.loads(details))
        except (OSError, ValueError, TypeError):
            return "", {}

    def finished_names(self) -> list[str]:
        """Return the names of the entries whose builds have finished, sorted."""
        root = self.root
        try:
            names = sorted(os.listdir(root))
        except FileNotFoundError:
            return []
        return [each for each in names if os.path.exists(os.path.join(root, each, COMPLETE))]
