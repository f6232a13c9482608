"""Containers and unions: structured all the way down."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from conversion_examples import Color, Layers, Point, refusal, same

from fal_core.conversion import strict
from fal_core.conversion.structuring import structure


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
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
        (Path("a"), str | os.PathLike[str], Path("a")),
    ],
)
def test_containers_become_the_declared_ones(
    value: Any, annotation: Any, expected: Any
) -> None:
    """Sequences become the declared type, and what they hold is structured too."""
    assert same(structure(value, annotation, "option"), expected)


@pytest.mark.parametrize(
    ("value", "annotation", "where", "words"),
    [
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
        ([("a", 1)], dict[str, int], "option", "a mapping to integers"),
        ({"a": "b"}, dict[str, int], "option['a']", "an integer, not 'b' (str)"),
        ({1: 2}, dict[str, int], "option[1]", "a string, not 1 (int)"),
    ],
)
def test_containers_are_refused_where_they_are_wrong(
    value: Any, annotation: Any, where: str, words: str
) -> None:
    """The error has the place inside of the value, and what would have been right there."""
    error = refusal(value, annotation)
    assert error.option == where
    assert words in str(error)


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
    """Usual declarations are structured without cattrs, which is slow to import."""
    monkeypatch.setitem(sys.modules, "fal_core.conversion.field_classes", None)
    strict._converter.cache_clear()

    structure(value, annotation, "option")
    with pytest.raises(ImportError):
        structure({"x": 1}, Point, "option")
