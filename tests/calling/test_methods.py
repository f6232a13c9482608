"""Isolated methods are called like isolated functions."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from fal_core import function
from fal_testing import InProcessHost


@pytest.fixture
def scale() -> Any:
    """An instance of a class with isolated methods."""

    isolated = partial(function, "current", host=InProcessHost())

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


def test_a_method_is_called_in_every_way(scale: Any) -> None:
    """
    An isolated method can be called in every way that a function can; the instance is
    the first argument.
    """
    assert scale.times(2) == scale.times.run_local(2) == 6
    assert scale.times.submit(2, plus=1).result(30) == 7
    assert scale.times.spawn(2).return_value == 6
    assert list(scale.times.map([1, 2], [10, 20])) == [13, 26]
    assert scale.times.with_policy(retries=1)(2) == 6
    assert scale.times.on(scale.times.host)(2) == 6
    assert asyncio.run(_await(scale.times.aio(4))) == 12


def test_a_generator_method_streams(scale: Any) -> None:
    """A generator method gives its items by its call, and by ``stream``."""
    assert list(scale.upto(3)) == list(scale.upto.stream(3)) == [0, 3, 6]


def test_a_method_calls_another_method(scale: Any) -> None:
    """Inside the worker too, an isolated method has its instance."""
    assert scale.sum_of([1, 2, 3]) == 18


def test_a_method_has_the_attributes_of_its_function(scale: Any) -> None:
    """A method has the name, the attributes and the signature of its function, bound."""
    assert scale.times.__name__ == "times"
    assert scale.times.__self__ is scale
    assert scale.times.options is type(scale).times.options
    assert list(inspect.signature(scale.times).parameters) == ["number", "plus"]
    assert "times" in repr(scale.times)
    with pytest.raises(AttributeError):
        scale.times.nothing_of_that_name  # noqa: B018  # asking for it is the test
    with pytest.raises(TypeError, match="iterable"):
        scale.times.map()


def test_a_method_travels_with_a_function(scale: Any) -> None:
    """A function that has captured a bound method calls it for the same instance."""
    times = scale.times

    @function("current", host=scale.times.host)
    def call(number: int) -> int:
        result: int = times(number)
        return result

    assert call(5) == 15


async def _await(awaitable: Any) -> Any:
    return await awaitable
