"""Values of different calls that refer to the same object."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import PurePosixPath
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from fal_core_worker.sharing import count_apart, never_changes


class Plain:
    pass


class Color(enum.Enum):
    RED = 1


shared: list[int] = [1]
plain = Plain()


@pytest.mark.parametrize(
    "values",
    [
        shared,
        {1: 2},
        {1},
        bytearray(b"1"),
        plain,
        (shared,),
        [shared],
        {"key": [shared]},
        ((shared, 1), 2),
        [[[[[shared]]]]],
        [*range(1000), shared],
    ],
)
def test_calls_with_one_object_are_apart(values: Any) -> None:
    """What may be changed is in one call of those that are sealed together, nested or not."""
    assert count_apart([(1, values), (2,), ([3],), (4, values), (5,)]) == 3
    assert count_apart([(values,)] * 4) == 1


@pytest.mark.parametrize(
    "value", [1, "text", b"1", None, (1, "2"), Color.RED, PurePosixPath("a"), len, Plain, enum]
)
def test_what_nobody_changes_may_be_shared(value: Any) -> None:
    """Numbers, texts, functions, classes and values that are compared by what they are."""
    assert count_apart([(value, {"key": value})] * 1 + [(value,)] * 3) == 4


def test_a_call_may_have_one_object_twice() -> None:
    """Within a call, values that were the same object are so where they arrive."""
    assert count_apart([(shared, shared), ([], [plain, plain])]) == 2
    assert count_apart([]) == 0


def test_what_is_nested_too_deep_is_alone() -> None:
    """What refers to itself, or is nested deeper than anybody looks, is in no batch."""
    endless: list[Any] = []
    endless.append(endless)
    wide: Any = ()
    for _ in range(50):
        wide = (wide,) * 10
    assert count_apart([(1,), (endless,), (2,)]) == 1
    assert count_apart([(wide,), (2,)]) == 1


@dataclass(frozen=True)
class Pair:
    first: Any
    second: Any


@pytest.mark.parametrize(
    ("value", "fixed"),
    [
        (Pair(1, (Color.RED, PurePosixPath("a"))), True),
        (Pair(1, (2, [])), False),
        (frozenset([1]), True),
        (plain.__str__, False),
        (shared.append, False),
        ("a".join, True),
        (len, True),
        (lambda: 1, True),
        (lambda value=shared: value, False),
        (ZoneInfo("UTC"), True),
        (datetime(2026, 1, 1, tzinfo=timezone.utc), True),
        (bytearray(b"1"), False),
    ],
)
def test_values_that_refer_to_what_changes_may_change(value: Any, fixed: bool) -> None:
    """A value that is compared by what it is may still refer to what can be changed."""
    assert never_changes(value) is fixed
