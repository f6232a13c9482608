"""Pruning over several stores."""

from __future__ import annotations

import time
from collections.abc import Sequence

import attrs
import pytest

from fal_core.errors import HostError
from fal_core.stores import Category, Store, StoredEntry, entries_of, prune


def entry(key: str, age: float, size: int = 100, **facts: object) -> StoredEntry:
    """Return an entry that was last used *age* seconds ago."""
    then = time.time() - age
    return StoredEntry(
        kind="thing",
        key=key,
        size=size,
        created=then,
        last_used=then,
        **facts,  # type: ignore[arg-type]  # those of entries
    )


@attrs.define(kw_only=True)
class Shelf(Store):
    """A store in memory, as an engine's would be."""

    kind: str = "thing"
    category: Category = "images"
    things: list[StoredEntry]
    left: int = 0
    is_shared: bool = False

    def entries(self) -> list[StoredEntry]:
        return list(self.things)

    def remove(self, entry: StoredEntry) -> bool:
        self.things.remove(entry)
        return True

    def leftovers(self, *, dry_run: bool) -> int:
        freed, self.left = self.left, self.left if dry_run else 0
        return freed


def keys(entries: Sequence[StoredEntry]) -> list[str]:
    """Return the keys of *entries*."""
    return [each.key for each in entries]


def test_the_longest_unused_go_first_over_all_stores() -> None:
    """A limit counts what all stores keep, and takes the least recently used of any of them."""
    first = Shelf(things=[entry("a", 400), entry("c", 200)])
    second = Shelf(things=[entry("b", 300), entry("d", 100)], left=7)
    planned = prune([first, second], max_size=150, dry_run=True)
    assert keys(planned.entries) == ["a", "b", "c"]
    assert (planned.freed, planned.kept) == (307, 100)
    assert len(first.things) == len(second.things) == 2
    assert second.left == 7
    assert prune([first, second], max_size=150) == planned
    assert first.things == []
    assert keys(second.things) == ["d"]
    assert second.left == 0


def test_entries_that_were_not_used_for_long_go() -> None:
    """An age takes what was not used since; without a limit only damaged ones and leftovers go."""
    shelf = Shelf(things=[entry("old", 400), entry("new", 100), entry("bad", 10, fault="gone")])
    assert keys(prune([shelf], dry_run=True).entries) == ["bad"]
    assert keys(prune([shelf], unused_for=200).entries) == ["old", "bad"]
    assert keys(shelf.things) == ["new"]
    assert prune([shelf], unused_for=200).entries == ()


def test_what_is_in_use_or_belongs_to_others_stays() -> None:
    """Entries in use stay and count; those of shared stores stay and do not, but leftovers go."""
    shelf = Shelf(
        things=[
            entry("used", 400, in_use=True),
            entry("free", 200),
        ]
    )
    shared = Shelf(things=[entry("theirs", 300, size=10_000)], is_shared=True, left=7)
    pruned = prune([shelf, shared], max_size=200)
    assert (pruned.entries, pruned.freed, pruned.kept) == ((), 7, 200)
    pruned = prune([shelf, shared], max_size=0)
    assert (keys(pruned.entries), pruned.kept) == (["free"], 100)
    assert keys(shared.things) == ["theirs"]


def test_store_that_fails_is_told_of_or_raises() -> None:
    """The entries of other stores are listed and removed beside a store that fails."""

    class Down(Shelf):
        def entries(self) -> list[StoredEntry]:
            raise HostError("The engine does not run.")

    class Stuck(Shelf):
        def remove(self, entry: StoredEntry) -> bool:
            raise HostError("The engine has lost it.")

    told: list[str] = []

    def tell(store: Store, error: Exception) -> None:
        told.append(str(error))

    stores = [Down(things=[]), Stuck(things=[entry("stuck", 9)]), Shelf(things=[entry("a", 8)])]
    assert [each.key for _, each in entries_of(stores, on_error=tell)] == ["stuck", "a"]
    pruned = prune(stores, max_size=0, on_error=tell)
    assert (keys(pruned.entries), pruned.kept) == (["a"], 100)
    assert told == ["The engine does not run."] * 2 + ["The engine has lost it."]
    with pytest.raises(HostError):
        prune(stores)
    with pytest.raises(HostError):
        entries_of(stores)


def test_store_without_leftovers() -> None:
    """A store need not know of leftovers."""

    class Plain(Shelf):
        leftovers = Store.leftovers

    assert prune([Plain(things=[])]).freed == 0
