"""Classes that travel by value: each is made once at each end."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

import attrs

from fal_core.sealing.arguments import seal_arguments
from fal_core.sealing.functions import seal_function


def echo(value: Any) -> Any:
    return value


class Counter:
    total = 0

    def __init__(self, start: int) -> None:
        self.value = start


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


@attrs.frozen
class Size:
    width: int


class Color(enum.Enum):
    RED = 1
    CRIMSON = 1
    BLUE = 2


def make_each() -> Any:
    return Counter(1), Point(1), Size(2), Color.BLUE, Color.CRIMSON


def test_classes_are_the_same_at_home(worker: Any) -> None:
    """
    Values that come back have the classes of those that were sent, and enum members are
    identical.
    """
    ((counter, point, size, blue, crimson),) = worker(make_each, ())

    assert type(counter) is Counter
    assert point == Point(1)
    assert size == Size(2)
    assert blue is Color.BLUE
    assert crimson is Color.RED


def test_opening_changes_no_class(worker: Any) -> None:
    """A class that was changed at home after it was sealed stays changed."""
    seal = seal_function(make_each)
    Counter.total = 5
    try:
        worker(make_each, (), seal=seal)
        assert Counter.total == 5
    finally:
        Counter.total = 0


def test_class_that_the_function_does_not_name(worker: Any) -> None:
    """A class that travels with an argument alone comes back as itself, unchanged."""

    class Local:
        tag = "sealed"

        def __init__(self, value: int) -> None:
            self.value = value

    seal = seal_function(echo)
    (first,) = worker(echo, (Local(3),), seal=seal)
    Local.tag = "changed"
    (second,) = worker(echo, (Local(4),), seal=seal)

    assert type(first) is type(second) is Local
    assert Local.tag == "changed"
    assert (first.value, second.value) == (3, 4)


def test_class_made_in_the_worker_is_one_class(worker: Any) -> None:
    """A class that the worker made is made here once, and kept as it is then."""

    def make() -> Any:
        kinds = globals().setdefault("kinds", [])
        if not kinds:
            kinds.append(type("Born", (), {"n": 0}))
        kinds[0].n += 1
        return kinds[0]()

    first, second = worker(make, (), ())

    assert type(first) is type(second)
    assert first.n == 1


def test_classes_travel_once() -> None:
    """Arguments refer to classes that went with the function, and hold no code."""
    sealed = seal_arguments(((Point(1),), {}), seal_function(make_each))

    assert not sealed.contains_code
    assert seal_arguments(((Point(1),), {}), seal_function(echo)).contains_code
