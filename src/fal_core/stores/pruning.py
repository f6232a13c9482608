"""
Pruning: removing what was not used for longest, over all stores.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import attrs

from fal_core.reprs import show_fields
from fal_core.stores.entries import StoredEntry
from fal_core.stores.stores import Store


@attrs.frozen(kw_only=True)
class Pruned:
    """
    What was removed.

    Attributes:
        entries: Those that were removed, the least recently used first.

        freed: Bytes, leftovers included.

        kept: Bytes that remain of what may be removed.
    """

    __repr__ = show_fields

    entries: tuple[StoredEntry, ...]
    freed: int
    kept: int


def prune(
    stores: Iterable[Store],
    *,
    max_size: int | None = None,
    unused_for: float | None = None,
    dry_run: bool = False,
) -> Pruned:
    """
    Remove the least recently used entries of all *stores* that are beyond a limit.

    What is in use, or being built, stays. Damaged entries and leftovers of killed builds
    are removed in any case; without a limit, nothing else is.

    Arguments:
        max_size: How many bytes may remain.

        unused_for: For how many seconds an entry may be unused.

        dry_run: Whether to remove nothing.

    Raises:
        FalCoreError: A store cannot be listed, or an entry cannot be removed.
    """
    stores = list(stores)
    listed = [(store, entry) for store in stores for entry in store.entries()]
    listed = [(store, entry) for store, entry in listed if entry.removable]
    listed.sort(key=lambda pair: pair[1].last_used)
    freed = sum(store.leftovers(dry_run=dry_run) for store in stores)
    total = sum(entry.size for _, entry in listed)
    before = None if unused_for is None else time.time() - unused_for
    removed = []
    for store, entry in listed:
        is_over = (max_size is not None and total > max_size) or (
            before is not None and entry.last_used < before
        )
        if not is_over and entry.fault is None:
            continue
        if entry.in_use or not (dry_run or store.remove(entry)):
            continue
        total -= entry.size
        removed.append(entry)
    freed += sum(entry.size for entry in removed)
    return Pruned(entries=tuple(removed), freed=freed, kept=total)
