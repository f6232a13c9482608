"""
Sealed objects: pickles with a prefix that says what opens them.
"""

from __future__ import annotations

import enum
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fal_core_worker.opening import seals
from fal_core_worker.opening.seals import CODE_PREFIX, PLAIN_PREFIX, Sealed, dump_plain

#: Values of built-in types, of which many hold others.
plain = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False),
        st.text(),
        st.binary(),
    ),
    lambda inner: st.one_of(
        st.lists(inner), st.dictionaries(st.text(), inner), st.tuples(inner, inner)
    ),
)


def opened(data: bytes | None) -> Any:
    """
    Return what is in a sealed object.
    """
    assert data is not None
    assert data.startswith(PLAIN_PREFIX)
    return pickle.loads(data[len(PLAIN_PREFIX) :])


@given(plain)
def test_built_in_values_are_sealed_as_they_are(value: Any) -> None:
    """
    What is made of built-in values alone comes back equal, and of the same types.
    """
    assert repr(opened(dump_plain(value))) == repr(value)


class Number(int):
    pass


class Color(enum.Enum):
    RED = 1


@pytest.mark.parametrize("value", [Number(3), Color.RED, len, int, ValueError(), object()])
def test_other_values_are_left_to_the_pickler(value: Any) -> None:
    """
    Anything else is no plain value, however deep it lies; the next value is sealed right.
    """
    assert dump_plain({"a": [1, (value,)]}) is None
    assert opened(dump_plain({"a": 1})) == {"a": 1}


def test_values_that_are_nested_too_deeply_are_left_to_the_pickler() -> None:
    """
    A value whose pickling would need a deeper stack is no plain value, and no error.
    """
    deep: list[Any] = []
    for _ in range(sys.getrecursionlimit() * 100):
        deep = [deep]
    assert dump_plain(deep) is None
    assert opened(dump_plain([1])) == [1]


def test_a_pickler_that_is_used_again_remembers_nothing() -> None:
    """
    An object that was sealed before is sealed whole, and nothing large is kept for it.
    """
    seals._picklers.clear()
    value = ["x" * 100]
    assert dump_plain(value) == dump_plain(value)
    assert len(seals._picklers) == 1
    assert opened(dump_plain("y" * seals._KEPT_SIZE)) == "y" * seals._KEPT_SIZE
    assert seals._picklers == []


def test_threads_share_no_pickler() -> None:
    """
    Threads that seal at once get what they sealed.
    """
    values = [[number] * 50 for number in range(400)]
    with ThreadPoolExecutor(8) as pool:
        assert [opened(data) for data in pool.map(dump_plain, values)] == values


def test_the_prefix_says_what_opens_it() -> None:
    """
    A sealed object names the Python that sealed it, and says whether it holds code.
    """
    here = tuple(sys.version_info[:2])
    assert [Sealed(prefix).contains_code for prefix in (PLAIN_PREFIX, CODE_PREFIX)] == [
        False,
        True,
    ]
    assert Sealed(PLAIN_PREFIX).python == Sealed(CODE_PREFIX).python == here
    assert Sealed(bytes((1, 1, 3, 99))).python == (3, 99)
