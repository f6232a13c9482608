"""Pruning: listing several stores as one, and removing what was not used for longest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

import attrs

from fal_core.reprs import show_fields
from fal_core.stores.entries import StoredEntry
from fal_core.stores.stores import Store

#: Told of a store that has raised an error, which the others do not suffer from.
OnError = Callable[[Store, Exception], None]

AnswerT = TypeVar("AnswerT")


@attrs.frozen(kw_only=True)
class Pruned:
    """
    What was removed.

    Attributes:
        entries: Those that were removed, the least recently used first.

        freed: Bytes, leftovers included.

        kept: Bytes that remain, those of shared stores not counted.
    """

    __repr__ = show_fields

    entries: tuple[StoredEntry, ...]
    freed: int
    kept: int


def entries_of(
    stores: Iterable[Store], *, on_error: OnError | None = None
) -> list[tuple[Store, StoredEntry]]:
    """
    Return all entries of *stores*, each with its store.

    Arguments:
        on_error: Told of a store that cannot be listed. None raises its error.
    """
    found: list[tuple[Store, StoredEntry]] = []
    none: list[StoredEntry] = []
    for store in stores:
        found += [(store, entry) for entry in _ask(store, store.entries, none, on_error)]
    return found


def prune(
    stores: Iterable[Store],
    *,
    max_size: int | None = None,
    unused_for: float | None = None,
    dry_run: bool = False,
    on_error: OnError | None = None,
) -> Pruned:
    """
    Remove the least recently used entries of all *stores* that are beyond a limit.

    What is in use, or being built, stays. Damaged entries and leftovers of killed builds
    are removed in any case; without a limit, nothing else is.

    Arguments:
        max_size: How many bytes may remain.

        unused_for: For how many seconds an entry may be unused.

        dry_run: Whether to remove nothing.

        on_error: Told of a store that fails, whose entries stay. None raises its error.
    """
    stores = list(stores)
    own = [store for store in stores if not store.is_shared]
    listed = entries_of(own, on_error=on_error)
    listed.sort(key=lambda pair: pair[1].last_used)
    freed = sum(
        _ask(store, partial(store.leftovers, dry_run=dry_run), 0, on_error) for store in stores
    )
    total = sum(entry.size for _, entry in listed)
    before = None if unused_for is None else time.time() - unused_for
    removed = []
    for store, entry in listed:
        is_over = (max_size is not None and total > max_size) or (
            before is not None and entry.last_used < before
        )
        if entry.in_use or not (is_over or entry.fault):
            continue
        if not dry_run and not _ask(store, partial(store.remove, entry), False, on_error):
            continue
        total -= entry.size
        removed.append(entry)
    freed += sum(entry.size for entry in removed)
    return Pruned(entries=tuple(removed), freed=freed, kept=total)


def _ask(
    store: Store, ask: Callable[[], AnswerT], otherwise: AnswerT, on_error: OnError | None
) -> AnswerT:
    """Return what *ask* returns, or *otherwise* if it raises and there is somebody to tell."""
    try:
        return ask()
    except Exception as error:
        if on_error is None:
            raise
        on_error(store, error)
        return otherwise
