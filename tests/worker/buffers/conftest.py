"""Values that are sealed, moved as a host moves them, and opened."""

from __future__ import annotations

from typing import Any

import pytest

from fal_core_worker.opening.pickling import seal
from fal_core_worker.opening.seals import Sealed
from fal_core_worker.opening.unpickling import open_sealed


class Way:
    """
    The way of values from one process to another.

    Attributes:
        sizes: The bytes of each buffer of the last value, the largest first.

        size: The bytes that were moved of it, buffers included.
    """

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.size = 0

    def __call__(self, value: Any, **options: Any) -> Any:
        """Return what *value* is at the other end."""
        sealed: Any = seal(value, "the value", "Make it there.", **options)
        moved = Sealed(bytes(sealed.data), [bytearray(buffer) for buffer in sealed.buffers])
        del sealed
        self.sizes = sorted(map(len, moved.buffers), reverse=True)
        self.size = len(moved.data) + sum(self.sizes)
        return open_sealed(moved, "the value")


@pytest.fixture
def travel() -> Way:
    return Way()
