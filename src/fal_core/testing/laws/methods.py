"""
Laws of methods: an isolated method is called as an isolated function is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from fal_core.testing.marks import Isolated


@pytest.fixture
def scale(isolated: Isolated) -> Any:
    """
    An instance of a class with isolated methods.
    """

    class Scale:
        def __init__(self, factor: int) -> None:
            self.factor = factor

        @isolated()
        def times(self, number: int, plus: int = 0) -> int:
            return self.factor * number + plus

        @isolated()
        def upto(self, limit: int) -> Iterator[int]:
            for number in range(limit):
                yield self.factor * number

        @isolated()
        def sum_of(self, numbers: list[int]) -> int:
            return sum(self.times(number) for number in numbers)

    return Scale(3)


def test_a_method_is_called_in_every_way(scale: Any, law_timeout: float) -> None:
    """
    What can be asked of an isolated function can be asked of its method: the
    instance is the first argument.
    """
    assert scale.times(2) == scale.times.run_local(2) == 6
    assert scale.times.submit(2, plus=1).result(law_timeout) == 7
    assert scale.times.spawn(2).return_value == 6
    assert list(scale.times.map([1, 2], [10, 20])) == [13, 26]
    assert scale.times.with_policy(retries=1)(2) == 6
    assert scale.times.on(scale.times.host)(2) == 6
    assert asyncio.run(_await(scale.times.aio(4))) == 12


def test_a_generator_method_streams(scale: Any) -> None:
    """
    A generator method gives its items by its call, and by ``stream``.
    """
    assert list(scale.upto(3)) == list(scale.upto.stream(3)) == [0, 3, 6]


def test_a_method_calls_another_method(scale: Any) -> None:
    """
    Inside the worker too, an isolated method has its instance.
    """
    assert scale.sum_of([1, 2, 3]) == 18


async def _await(awaitable: Any) -> Any:
    return await awaitable
