"""
Values of different calls that refer to the same object.
"""

from __future__ import annotations

import enum
from pathlib import PurePosixPath
from typing import Any

import pytest

from fal_core_worker.running.sharing import count_apart


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
    ],
)
def test_calls_with_one_object_are_apart(values: Any) -> None:
    """
    What may be changed is in one call of those that are sealed together, nested or not.
    """
    assert count_apart([(1, values), (2,), ([3],), (4, values), (5,)]) == 3
    assert count_apart([(values,)] * 4) == 1


@pytest.mark.parametrize(
    "value", [1, "text", b"1", None, (1, "2"), Color.RED, PurePosixPath("a"), len, Plain, enum]
)
def test_what_nobody_changes_may_be_shared(value: Any) -> None:
    """
    Numbers, texts, functions, classes and values that are compared by what they are.
    """
    assert count_apart([(value, {"key": value})] * 1 + [(value,)] * 3) == 4


def test_a_call_may_have_one_object_twice() -> None:
    """
    Within a call, values that were the same object are so where they arrive.
    """
    assert count_apart([(shared, shared), ([], [plain, plain])]) == 2
    assert count_apart([]) == 0
