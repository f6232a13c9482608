"""Scalars: taken as they are, or refused in words."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal

import pytest
from conversion_examples import Color, Meters, Size, Text, refusal, same

from fal_core.conversion.structuring import structure


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (Text("a"), str, Text("a")),
        (Size.SMALL, int, Size.SMALL),
        (len, Callable[[Any], int], len),
        (Path("a"), PurePath, Path("a")),
        (Color.RED, Color, Color.RED),
        (Size.SMALL, Size, Size.SMALL),
        (2.5, Meters, 2.5),
        (2, Annotated[float, "s"], 2.0),
        (int, type[int], int),
        (object, object, object),
    ],
)
def test_scalars_of_the_right_type_are_taken(
    value: Any, annotation: Any, expected: Any
) -> None:
    """Instances of the declared class are taken, those of its subclasses included."""
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
        (None, str, "option", "a string, not None"),
        (0, None, "option", "None, not 0 (int)"),
        ("c", Literal["a", "b"], "option", "'a' or 'b', not 'c' (str)"),
        (True, Literal[1], "option", "1, not True (bool)"),
        ("x", Callable[[], Any], "option", "a function, not 'x' (str)"),
        (3, os.PathLike[str], "option", "a path, not 3 (int)"),
        ("a", Path, "option", "a Path, not 'a' (str)"),
        ("RED", Color, "option", "a Color, not 'RED' (str)"),
        (1, Size, "option", "a Size, not 1 (int)"),
        ("a", Meters, "option", "a number, not 'a' (str)"),
        (3, type[int], "option", "a class, not 3 (int)"),
    ],
)
def test_scalars_are_not_coerced(value: Any, annotation: Any, where: str, words: str) -> None:
    """A scalar of another type is refused, even where Python could make the declared one of it."""
    error = refusal(value, annotation)
    assert error.option == where
    assert words in str(error)
