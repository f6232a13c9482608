"""Rattler's cache, which is listed beside the environments that are made from it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs

from fal_core.stores import Store
from fal_env_conda.building.prefixes import KIND
from fal_env_conda.building.recipes import rattler_cache

if TYPE_CHECKING:
    from fal_core.stores import Category, StoredEntry


@attrs.frozen
class RattlerCache(Store):
    """
    Rattler's cache of packages and indexes. Programs such as pixi use it too, so nothing in
    it is removed here.
    """

    kind: str = KIND
    category: Category = "caches"
    is_shared: bool = True

    def entries(self) -> list[StoredEntry]:
        from fal_core.stores import StoredEntry, children_usage

        root = rattler_cache()
        found = []
        for name, summary in (("pkgs", "packages"), ("repodata", "indexes of channels")):
            path = os.path.join(root, name)
            try:
                status = os.stat(path)
            except OSError:
                continue
            found.append(
                StoredEntry(
                    kind=self.kind,
                    key=f"rattler-{name}",
                    path=path,
                    size=children_usage(path),
                    created=status.st_mtime,
                    last_used=status.st_mtime,
                    summary=f"{summary} of rattler, for pixi too",
                )
            )
        return found

    def remove(self, entry: StoredEntry) -> bool:
        return False
