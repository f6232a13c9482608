"""Items that have an object in common, and results that have."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import pytest

from fal_core import function
from fal_core.batching.batches import Separation
from fal_testing.hosts.in_process import InProcessHost


@dataclass
class Holder:
    kept: list[int]

    def append(self, number: int) -> int:
        self.kept.append(number)
        return len(self.kept)


def append(kept: list[int], number: int) -> int:
    kept.append(number)
    return len(kept)


kept: list[int] = []
holder = Holder(kept)


def make_items(*values: Any) -> deque[Any]:
    return deque(((value,), {}) for value in values)


def tagged(items: deque[Any]) -> deque[Any]:
    return deque((item, number) for number, item in enumerate(items))


def test_a_batch_ends_before_an_item_that_shares_an_object() -> None:
    """Keyword arguments count as others do, and so do those that are nested."""
    kept: list[int] = []
    separation = Separation(4096)
    assert separation.count(tagged(make_items(1, kept, 3, [kept], 5)), 5) == 3
    items = tagged(deque([((1,), {"by": kept}), ((2,), {"by": kept})]))
    assert separation.count(items, 2) == 1


def test_few_items_are_looked_at_where_they_share_objects() -> None:
    """A map of very many items that share one object does not look at all of them each time."""
    kept: list[int] = []
    waiting = tagged(make_items(*[kept] * 100))
    separation = Separation(64)
    assert separation.count(waiting, 100) == 1
    # What follows is looked at again, a few at first.
    fresh = tagged(make_items(*range(100)))
    assert [separation.count(fresh, 100) for _ in range(3)] == [2, 16, 64]


def test_every_item_of_a_map_has_its_own_objects() -> None:
    """That holds however many items are launched together, and for their results."""
    kept: list[int] = []

    @function("current", host=InProcessHost())
    def append(to: list[int], number: int, /) -> list[int]:
        to.append(number)
        return to

    results = list(append.map([kept] * 200, range(200)))
    assert results == [[number] for number in range(200)]
    assert kept == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: Holder(kept).append,
        lambda: holder.append,
        lambda: partial(append, kept),
        lambda: lambda number: append(kept, number),
        lambda: [[[[[holder.append]]]]][0][0][0][0][0],
    ],
)
def test_items_share_nothing_that_other_objects_hold(make: Any) -> None:
    """What attributes, methods and closures refer to is not shared by the items of a map either."""

    @function("current", host=InProcessHost())
    def call(append: Any, number: int, /) -> int:
        return int(append(number))

    assert list(call.map([make() for _ in range(100)], range(100))) == [1] * 100
    assert kept == []


def test_results_share_nothing_that_other_objects_hold() -> None:
    """Results that refer to one object of the worker refer to one of their own at home."""
    held: list[int] = []

    @function("current", host=InProcessHost())
    def make(number: int, /) -> Holder:
        return Holder(held)

    results = list(make.map(range(100)))
    assert len({id(result.kept) for result in results}) == 100


def test_items_of_other_objects_are_launched_together() -> None:
    """Objects that have none in common but what never changes need no launch of their own."""
    sizes: list[int] = []

    class Counting(InProcessHost):
        def launch(self, call: Any, sink: Any) -> Any:
            sizes.append(call.batch)
            return super().launch(call, sink)

    @function("current", host=Counting())
    def call(held: Holder, path: Any, /) -> int:
        return len(held.kept)

    path = PurePosixPath("a")
    assert list(call.map([Holder([1]) for _ in range(200)], [path] * 200)) == [1] * 200
    assert len(sizes) < 100
