"""
Items that have an object in common, and results that have.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from fal_core import function
from fal_core.batching.separation import Separation
from fal_core.testing.hosts.in_process import InProcessHost


def make_items(*values: Any) -> deque[Any]:
    return deque(((value,), {}) for value in values)


def tagged(items: deque[Any]) -> deque[Any]:
    return deque((item, number) for number, item in enumerate(items))


def test_a_batch_ends_before_an_item_that_shares_an_object() -> None:
    """
    Keyword arguments count as others do, and so do those that are nested.
    """
    kept: list[int] = []
    separation = Separation(4096)
    assert separation.count(tagged(make_items(1, kept, 3, [kept], 5)), 5) == 3
    items = tagged(deque([((1,), {"by": kept}), ((2,), {"by": kept})]))
    assert separation.count(items, 2) == 1


def test_few_items_are_looked_at_where_they_share_objects() -> None:
    """
    A map of very many items that share one object does not look at all of them each time.
    """
    kept: list[int] = []
    waiting = tagged(make_items(*[kept] * 100))
    separation = Separation(64)
    assert separation.count(waiting, 100) == 1
    # What follows is looked at again, a few at first.
    fresh = tagged(make_items(*range(100)))
    assert [separation.count(fresh, 100) for _ in range(3)] == [2, 16, 64]


def test_every_item_of_a_map_has_its_own_objects() -> None:
    """
    That holds however many items are launched together, and for their results.
    """
    kept: list[int] = []

    @function("current", host=InProcessHost())
    def append(to: list[int], number: int, /) -> list[int]:
        to.append(number)
        return to

    results = list(append.map([kept] * 200, range(200)))
    assert results == [[number] for number in range(200)]
    assert kept == []
