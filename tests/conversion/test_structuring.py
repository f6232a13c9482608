"""
Structuring: strict, in words, and by annotation.
"""

# The older spellings of unions are values under test here.
# ruff: noqa: UP007, UP045

from __future__ import annotations

import collections.abc
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, Optional, Union

import pytest
from conversion_examples import Color, Even, Layers, Line, Meters, Point, Size, Text, same
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fal_core.conversion import strict
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
        (Text("a"), str, Text("a")),
        (Size.SMALL, int, Size.SMALL),
        (None, None, None),
        (None, Optional[int], None),
        (3, Optional[float], 3.0),
        (3, Union[float, int], 3),
        ([1, 2], tuple[int, ...], (1, 2)),
        ((1, 2), list[int], [1, 2]),
        ([1, "a"], tuple[int, str], (1, "a")),
        ((), tuple[int, ...], ()),
        ([1], Sequence[float], (1.0,)),
        ([1], list, [1]),
        ((1,), tuple, (1,)),
        ({1, 2}, frozenset[int], frozenset({1, 2})),
        ([1, 1], set[int], {1}),
        (["a"], Layers, ["a"]),
        ([["a"], ("b",)], Layers, [["a"], ["b"]]),
        ({"a": 1}, Mapping[str, float], {"a": 1.0}),
        ({"a": object}, dict[str, Any], {"a": object}),
        ({"a": 1}, dict, {"a": 1}),
        ("GPU", str | tuple[str, ...] | None, "GPU"),
        (["GPU"], str | tuple[str, ...] | None, ("GPU",)),
        ("a", Literal["a", 1], "a"),
        (len, Callable[[Any], int], len),
        (Path("a"), str | os.PathLike[str], Path("a")),
        (Path("a"), PurePath, Path("a")),
        (Color.RED, Color, Color.RED),
        (Size.SMALL, Size, Size.SMALL),
        (2.5, Meters, 2.5),
        (2, Annotated[float, "s"], 2.0),
        (Point(x=1), Point, Point(x=1)),
        ({"x": 1, "_name": "n"}, Point, Point(x=1, _name="n")),
        ({"points": [{"x": 1}]}, Line, Line([Point(x=1)])),
        (int, type[int], int),
        (object, object, object),
    ],
)
def test_right_values_are_taken(value: Any, annotation: Any, expected: Any) -> None:
    """
    Values of the right type are taken; sequences become the declared type, integers floats.
    """
    assert same(structure(value, annotation, "option"), expected)


@pytest.mark.parametrize(
    ("value", "annotation", "where", "words"),
    [
        (1, str, "option", "a string, not 1 (int)"),
        ("3", int, "option", "an integer, not '3' (str)"),
        (True, int, "option", "an integer, not True (bool)"),
        (True, float, "option", "a number, not True (bool)"),
        (3.0, int, "option", "an integer, not 3.0 (float)"),
        (10**400, float, "option", "a number that a float can hold"),
        ("no", bool, "option", "True or False, not 'no' (str)"),
        (1, bool, "option", "True or False, not 1 (int)"),
        ("no", bool | None, "option", "True, False or None, not 'no' (str)"),
        (None, str, "option", "a string, not None"),
        (0, None, "option", "None, not 0 (int)"),
        ("abc", list[str], "option", "a list of strings, not 'abc' (str)"),
        ("abc", tuple[str, ...], "option", "a list of strings, not 'abc' (str)"),
        (b"abc", Sequence[int], "option", "a list of integers, not b'abc' (bytes)"),
        ({"a": 1}, list[str], "option", "a list of strings, not {'a': 1} (dict)"),
        ({"a"}, list[str], "option", "a list of strings, not {'a'} (set)"),
        (iter("a"), list[str], "option", "a list of strings"),
        ("abc", set[str], "option", "a set of strings"),
        ([[]], set[Any], "option", "a set that can be hashed"),
        ([1, 2, 3], tuple[int, str], "option", "a list of an integer and a string"),
        ([1, 2], tuple[int, str], "option[1]", "a string, not 2 (int)"),
        (["a", 2], list[str], "option[1]", "a string, not 2 (int)"),
        (["a", "b", 3], Layers, "option[2]", "a string, not 3 (int)"),
        ([["a"], ["b", 3]], Layers, "option[1][1]", "a string, not 3 (int)"),
        ([["a"], "b"], Layers, "option[1]", "a list of strings, not 'b' (str)"),
        ([3], Layers, "option[0]", "a string or a list of strings, not 3 (int)"),
        ("a", Layers, "option", "a list of strings or a list of lists of strings"),
        (3, str | tuple[str, ...] | None, "option", "a string, a list of strings or None"),
        ([("a", 1)], dict[str, int], "option", "a mapping to integers"),
        ({"a": "b"}, dict[str, int], "option['a']", "an integer, not 'b' (str)"),
        ({1: 2}, dict[str, int], "option[1]", "a string, not 1 (int)"),
        ("c", Literal["a", "b"], "option", "'a' or 'b', not 'c' (str)"),
        ("c", Literal["a", "b"] | None, "option", "'a', 'b' or None, not 'c' (str)"),
        (True, Literal[1], "option", "1, not True (bool)"),
        ("x", Callable[[], Any], "option", "a function, not 'x' (str)"),
        (3, os.PathLike[str], "option", "a path, not 3 (int)"),
        ("a", Path, "option", "a Path, not 'a' (str)"),
        ("RED", Color, "option", "a Color, not 'RED' (str)"),
        (1, Size, "option", "a Size, not 1 (int)"),
        ("a", Meters, "option", "a number, not 'a' (str)"),
        (3, type[int], "option", "a class, not 3 (int)"),
        (3, Even, "option", "an Even, not 3 (int)"),
        ({"number": 3}, Even, "option", "3 is odd"),
        ({"x": "1"}, Point, "option.x", "an integer, not '1' (str)"),
        ({"points": [{"x": 1}, {"x": 2, "y": "z"}]}, Line, "option.points[1].y", "a number"),
        ({"x": 1, "z": 2}, Point, "option", "which has no 'z'"),
        ({"x": 1, 2: "z"}, Point, "option", "which has no 2"),
        ({}, Point, "option", "a Point with 'x'"),
    ],
)
def test_wrong_values_are_refused_in_words(
    value: Any, annotation: Any, where: str, words: str
) -> None:
    """
    Values are not coerced; the error has the place, the expected type and the value.
    """
    with pytest.raises(OptionTypeError) as caught:
        structure(value, annotation, "option")
    assert caught.value.option == where
    assert str(caught.value).startswith(f"Option {where!r} must be ")
    assert words in str(caught.value)


def test_long_value_is_shortened() -> None:
    """
    An error quotes a long value in part.
    """
    with pytest.raises(OptionTypeError) as caught:
        structure("x" * 10_000, int, "option")
    assert len(str(caught.value)) < 120


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
    """
    A structured value has its type: structuring it again changes nothing.
    """
    try:
        once = structure(value, annotation, "option")
    except OptionTypeError:
        return
    assert same(structure(once, annotation, "option"), once)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (["numpy", "pandas"], Layers),
        ([["numpy"], ["pandas"]], tuple[str, ...] | tuple[tuple[str, ...], ...]),
        ("3.11", str | None),
        (["GPU"], str | tuple[str, ...] | None),
        (300, float | None),
        (len, Callable[[], Any] | None),
        ({"a": [1]}, Mapping[str, Any] | None),
        (Path("a"), str | os.PathLike[str] | None),
        (True, bool),
        (Color.RED, Color),
        ({1}, set[int]),
    ],
)
def test_only_classes_with_fields_need_cattrs(
    value: Any, annotation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Usual declarations are structured without cattrs, which is slow to import.
    """
    monkeypatch.setitem(sys.modules, "fal_core.conversion.field_classes", None)
    strict._converter.cache_clear()

    structure(value, annotation, "option")
    with pytest.raises(ImportError):
        structure({"x": 1}, Point, "option")
