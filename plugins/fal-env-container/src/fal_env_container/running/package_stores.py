"""
Where packages on top of images are kept: the directory ``container-packages`` of the cache.

Beside what every store has, it contains::

    keys/<key>.json     what was resolved for an image, its Python and requirements
    <name>/             a folder of packages, named by the image, its Python and its lock

So requirements that are written differently and resolve alike share a folder, and a folder
that is lost is filled again with the same versions.
"""

from __future__ import annotations

import json
import os

import attrs

from fal_core.caches import remove_quietly, write_atomically
from fal_core.reprs import show_fields
from fal_core.stores import DirectoryStore, list_directory
from fal_env_container.engines import KIND

#: The version of locks, which is written into them.
_VERSION = 1


@attrs.frozen(kw_only=True)
class PackageLock:
    """
    What was resolved for an image, its Python and requirements.

    Attributes:
        name: The name of the folder.

        pins: What was installed, as lines of a requirements file.

        lock: The text of the lock that what *pins* leave out was installed from; empty if
            there was none.
    """

    __repr__ = show_fields

    name: str
    pins: tuple[str, ...]
    lock: str = ""


class PackageStore(DirectoryStore):
    """Folders of packages, and the locks that lead to them."""

    __slots__ = ()

    def read_lock(self, key: str) -> PackageLock | None:
        """Return the lock of *key*; None if there is none, or it cannot be read."""
        try:
            with open(self._lock_file(key), encoding="utf-8") as stream:
                content = json.load(stream)
            if content["version"] != _VERSION:
                return None
            return PackageLock(
                name=content["name"],
                pins=tuple(content["pins"]),
                lock=content.get("lock", ""),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write_lock(self, key: str, lock: PackageLock) -> None:
        """Keep *lock* for *key*, in place of an earlier one."""
        os.makedirs(self._locks, exist_ok=True)
        content = {"version": _VERSION, "name": lock.name, "pins": lock.pins}
        content |= {"lock": lock.lock} if lock.lock else {}
        write_atomically(self._lock_file(key), json.dumps(content, indent=1))

    def forget(self, key: str, name: str) -> None:
        for file in list_directory(self._locks):
            lock = self.read_lock(file.removesuffix(".json"))
            if lock is not None and lock.name == name:
                remove_quietly(os.path.join(self._locks, file))

    @property
    def _locks(self) -> str:
        return os.path.join(self.root, "keys")

    def _lock_file(self, key: str) -> str:
        return os.path.join(self._locks, f"{key}.json")


STORE = PackageStore(folder="container-packages", kind=KIND)
