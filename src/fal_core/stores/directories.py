"""
Stores of directories: what a kind of environment builds, finds again, and has removed.

A first call goes through here, so what only builds and removals need is imported by them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Event
from typing import TYPE_CHECKING

from fal_core.stores.places import CacheDirectory
from fal_core.stores.stores import Store

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from fal_core.events import LogSink
    from fal_core.stores.builds import Build
    from fal_core.stores.entries import StoredEntry


class DirectoryStore(CacheDirectory, Store):
    """
    A directory of the cache whose entries are directories, each built once.

    An entry is named by the key of its build, unless :meth:`Build.finish` gives it another
    name. A subclass may keep more beside the entries.

    Attributes:
        folder: The name of the directory below the cache root.

        kind: The kind of environment.

        category: What the entries are.
    """

    def find_or_build(
        self,
        key: str,
        build: Callable[[Build], None],
        *,
        log: LogSink,
        cancelled: Event,
        in_place: bool = False,
        summary: str = "",
        terms: object = None,
    ) -> str:
        """
        Return the path of the entry of *key*, which *build* fills if it is not there.

        One thread of one process builds, and the others wait. If it raises an
        ``EnvironmentBuildError``, those who waited raise the same, and later calls build
        anew. Nothing else remains of a build that fails, is cancelled or is killed. This
        process uses the entry from now on.

        Arguments:
            build: Called with a :class:`Build`, whose ``directory`` it fills.

            log: Told if this waits for another builder.

            in_place: Whether to build where the entry stays, because what is built cannot
                be moved. Otherwise it is built elsewhere and renamed.

            summary: What is in it, in a few words, for lists; *build* may write another to
                the ``summary`` of what it is called with, and more to its ``details``.

            terms: What the build depends on beside *key*, such as credentials, which are in
                no key: a value whose ``repr`` is whole. Who waits for a build that fails
                builds for itself if its terms are others. It is not written down.

        Raises:
            EnvironmentBuildError: A file system failed, or *build* raised this, in this
                process or in one that this has waited for.

            Cancelled: *cancelled* was set.
        """
        found = self.find(key)
        if found is not None:
            return found
        from fal_core.stores.builds import build_entry

        return build_entry(
            self,
            key,
            build,
            log=log,
            cancelled=cancelled,
            in_place=in_place,
            summary=summary,
            terms=terms,
        )

    def building(
        self, key: str, *, log: LogSink, cancelled: Event, terms: object = None
    ) -> AbstractContextManager[None]:
        """
        Return a context that holds the lock of *key*, once no other builder does.

        In it, errors of file systems become errors of the build, and what killed builds
        of *key* left behind is gone. An ``EnvironmentBuildError`` that leaves it goes to
        those who wait, too, if their *terms* are the same, see :meth:`find_or_build`.

        Raises:
            EnvironmentBuildError: A file system failed, or the builder that this has waited
                for.

            Cancelled: *cancelled* was set while another builder held the lock.
        """
        from fal_core.stores.builds import building

        return building(self, key, log=log, cancelled=cancelled, terms=terms)

    def open_build(self, key: str, *, cancelled: Event, in_place: bool = False) -> Build:
        """Return a new build of *key*, a context; the caller holds the lock of *key*."""
        from fal_core.stores.builds import Build

        return Build(place=self, key=key, cancelled=cancelled, in_place=in_place)

    def entries(self) -> list[StoredEntry]:
        """Return the entries whose builds have finished."""
        from fal_core.stores.removal import list_entries

        return list_entries(self)

    def remove(self, entry: StoredEntry) -> bool:
        """Remove *entry*, unless it is in use or being built; return whether it is gone."""
        from fal_core.stores.removal import remove_entry

        name = os.path.basename(entry.path)
        return remove_entry(self, entry.key, name, forget=self.forget)

    def leftovers(self, *, dry_run: bool) -> int:
        """Remove builds that nobody continues, and the trash; return how many bytes."""
        from fal_core.stores.removal import remove_leftovers

        return remove_leftovers(self, self.find_strays(), dry_run=dry_run)

    def forget(self, key: str, name: str) -> None:
        """
        Remove what a subclass keeps beside the entry *name*, which has just been removed.

        The lock of *key* is held meanwhile.
        """

    def find_strays(self) -> list[str]:
        """
        Return the names of entries that nothing leads to any more; none by default.

        They are removed with the leftovers, unless they are in use.
        """
        return []

    def discard(self, name: str) -> None:
        """Remove the entry *name*, used or not: it is moved to the trash first."""
        from fal_core.stores.removal import discard

        discard(self.root, self.path(name))
