"""Functions in a worker that call isolated functions of this process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fal_core import function
from fal_testing import InProcessHost


def test_a_call_to_another_place_is_made_at_home() -> None:
    """The function runs where its own host says, and its result goes to the worker."""
    outer_host, inner_host = InProcessHost(), InProcessHost()

    @function("current", host=inner_host)
    def inner(number: int) -> int:
        return number + 1

    @function("current", host=outer_host)
    def outer(number: int) -> int:
        return 10 * inner(number)

    assert outer(3) == 40


def test_exception_of_a_home_call_is_raised_in_the_worker() -> None:
    """An exception of a home call is an exception of that call, wherever it runs."""

    @function("current", host=InProcessHost())
    def fail() -> None:
        raise LookupError("at home")

    @function("current", host=InProcessHost())
    def outer() -> str:
        try:
            fail()
        except LookupError as error:
            return str(error)
        return "nothing was raised"

    assert outer() == "at home"


def test_a_generator_called_at_home_gives_a_list() -> None:
    """The items that it yields are returned as one list."""

    @function("current", host=InProcessHost())
    def items(limit: int) -> Iterator[int]:
        yield from range(limit)

    @function("current", host=InProcessHost())
    def outer() -> list[Any]:
        return list(items(3))

    assert outer() == [0, 1, 2]


@pytest.mark.parametrize("way", ["submit", "spawn", "map", "stream"])
def test_home_calls_are_answered_however_the_caller_is_called(way: str) -> None:
    """Every sink of a call answers its home calls."""

    @function("current", host=InProcessHost())
    def inner(number: int) -> int:
        return number + 1

    @function("current", host=InProcessHost())
    def outer(number: int) -> int:
        return inner(number)

    @function("current", host=InProcessHost())
    def yielding(number: int) -> Iterator[int]:
        yield inner(number)

    got = {
        "submit": lambda: outer.submit(1).result(60),
        "spawn": lambda: outer.spawn(1).return_value,
        "map": lambda: next(iter(outer.map([1]))),
        "stream": lambda: next(iter(yielding(1))),
    }

    assert got[way]() == 2
