"""Structuring: strict, by annotation."""

# The older spellings of unions are values under test here.
# ruff: noqa: UP007, UP045

from __future__ import annotations

import collections.abc
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Optional, Union

import pytest
from conversion_examples import Color, Point, Size, Text, same
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fal_core.conversion.structuring import structure
from fal_core.errors import OptionTypeError


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        ("a", str, "a"),
        (3, int, 3),
        (3, float, 3.0),
        (True, bool, True),
        (b"a", bytes, b"a"),
        (None, None, None),
        ("a", Literal["a", 1], "a"),
        (None, Optional[int], None),
        (3, Optional[float], 3.0),
        (3, Union[float, int], 3),
    ],
)
def test_plain_values_are_taken(value: Any, annotation: Any, expected: Any) -> None:
    """Plain values of the declared type are taken; integers become floats."""
    assert same(structure(value, annotation, "option"), expected)


LEAVES: list[Any] = [
    str,
    int,
    float,
    bool,
    bytes,
    None,
    type(None),
    Any,
    Literal["a", 1, True],
    Literal["b"],
    Callable[[], Any],
    collections.abc.Callable[..., int],
    os.PathLike[str],
    Path,
    Color,
    Size,
    Point,
    object,
    list,
    dict,
    tuple,
]


# Subscribed with what a strategy drew, which is no type to a type checker.
GENERICS: tuple[Any, ...] = (list, tuple, Sequence, set, dict, Mapping)


LIST, TUPLE, SEQUENCE, SET, DICT, MAPPING = GENERICS


def _composed(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        inner.map(lambda item: LIST[item]),
        inner.map(lambda item: TUPLE[item, ...]),
        inner.map(lambda item: SEQUENCE[item]),
        inner.map(lambda item: SET[item]),
        inner.map(lambda item: Optional[item]),
        st.tuples(inner, inner).map(lambda items: TUPLE[items]),
        st.tuples(inner, inner).map(lambda items: DICT[items]),
        inner.map(lambda item: MAPPING[str, item]),
        st.lists(inner, min_size=1, max_size=3).map(lambda arms: Union[tuple(arms)]),
    )


drawn_annotations = st.recursive(st.sampled_from(LEAVES), _composed, max_leaves=5)


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([2**53, 2**53 + 1, 10**400, -(10**400)]),
    st.floats(),
    st.sampled_from(["a", "b", "", "RED"]),
    st.binary(max_size=2),
    st.sampled_from([Text("a"), Path("a"), Color.RED, Size.SMALL, Point(x=1), len, int]),
)


values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.sampled_from(["a", "x", 1, None]), inner, max_size=2),
    ),
    max_leaves=6,
)


@settings(max_examples=500, deadline=None)
@given(values, drawn_annotations)
@example([1], Union[set[int], list[int]])
@example({"x": 1}, Union[Point, dict[str, int]])
@example(Text("a"), str)
@example(Size.SMALL, Union[str, int])
@example(2**53 + 1, float)
@example([{1: None}], list[Point])
def test_structuring_again_changes_nothing(value: Any, annotation: Any) -> None:
    """A structured value has its type: structuring it again changes nothing."""
    try:
        once = structure(value, annotation, "option")
    except OptionTypeError:
        return
    assert same(structure(once, annotation, "option"), once)
