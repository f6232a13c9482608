"""Functions made by decorators of the standard library: each is made again when opened."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest


class Lazy:
    @functools.cached_property
    def value(self) -> list[int]:
        return [3]


@functools.cache
def fibonacci(n: int) -> int:
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


@functools.singledispatch
def kind_of(value: object) -> str:
    return "other"


@kind_of.register
def _(value: int) -> str:
    return "integer"


@functools.lru_cache(maxsize=3, typed=True)
def tell(value: object) -> str:
    return type(value).__name__


@contextlib.contextmanager
def inside(name: str) -> Iterator[str]:
    yield f"inside {name}"


@contextlib.asynccontextmanager
async def beside(name: str) -> AsyncIterator[str]:
    yield f"beside {name}"


def enter(name: str) -> str:
    with inside(name) as text:
        return text


async def enter_beside(name: str) -> str:
    async with beside(name) as text:
        return text


def run_beside(name: str) -> str:
    import asyncio

    return asyncio.run(enter_beside(name))


def look_at_the_cache() -> Any:
    before = tell.cache_info()
    tell(1)
    tell(1)
    return before.currsize, tell.cache_info()[:3], tell.cache_parameters(), tell.__name__


SHAPES: list[tuple[Callable[..., Any], tuple[Any, ...], Any]] = [
    (fibonacci, (20,), 6765),
    (kind_of, (1,), "integer"),
    (kind_of, ("text",), "other"),
    (lambda: Lazy().value, (), [3]),
    (enter, ("here",), "inside here"),
    (run_beside, ("it",), "beside it"),
]


@pytest.mark.parametrize("portable", [False, True], ids=["native", "as source"])
@pytest.mark.parametrize(("function", "arguments", "expected"), SHAPES)
def test_decorated_functions_are_decorated_there(
    worker: Any,
    function: Any,
    arguments: tuple[Any, ...],
    expected: Any,
    *,
    portable: bool,
) -> None:
    """What a decorator of the standard library has made is made anew of its function."""
    made = worker(function, arguments, portable=portable, native=not portable)
    assert made == [expected]


def test_a_cache_stays_behind(worker: Any) -> None:
    """A cached function has the limits of its cache there, and none of its contents."""
    tell("filled here")
    (found,) = worker(look_at_the_cache, ())
    assert found == (0, (1, 1, 3), {"maxsize": 3, "typed": True}, "tell")
