"""
Separation: items that have an object in common are not in one batch.

What is sealed together refers to one object together. Alone, every item gets its own, which
its function may change.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Any

from fal_core_worker.sharing import count_apart


class Separation:
    """
    Finds out how many of the items that wait may be in one batch.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        # Items that have objects in common often come one after the other.
        self._ahead = most

    def count(self, waiting: deque[Any], count: int) -> int:
        """
        Return how many of the next *count* items in *waiting* may be in one batch.
        """
        count = min(count, self._ahead)
        calls = [
            (*args, *kwargs.values()) if kwargs else args
            for (args, kwargs), _ in islice(waiting, count)
        ]
        apart = count_apart(calls)
        self._ahead = min(self._most, 8 * self._ahead if apart == count else 2 * apart)
        return apart
