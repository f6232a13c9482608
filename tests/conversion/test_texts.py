"""Texts and JSON of a command line, read by annotation."""

# The older spellings of unions are values under test here.
# ruff: noqa: UP007, UP045

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Union

import pytest
from conversion_examples import Color, Line, Meters, Point, Size, same
from hypothesis import given
from hypothesis import strategies as st

from fal_core.conversion.texts import parse_json, parse_text
from fal_core.errors import OptionTypeError

#: Texts, what they are read as, and what comes of them.
TEXTS: list[tuple[str, Any, Any]] = [
    ("3", int, 3),
    ("-3", int, -3),
    ("3", float, 3.0),
    ("1e3", float, 1000.0),
    ("true", bool, True),
    ("False", bool, False),
    ("3", str, "3"),
    ("", str, ""),
    ("null", str, "null"),
    ("null", Optional[int], None),
    ("null", Optional[str], None),
    ("3", Optional[int], 3),
    ("3", Union[str, int], 3),
    ("three", Union[str, int], "three"),
    ("b", Literal["a", "b"], "b"),
    ("2", Literal[1, 2], 2),
    ("RED", Literal[Color.RED], Color.RED),
    ('["a", "b"]', list[str], ["a", "b"]),
    ("[1, 2]", tuple[float, ...], (1.0, 2.0)),
    ('{"a": 1}', dict[str, int], {"a": 1}),
    ('{"x": 1, "y": 2}', Point, Point(x=1, y=2.0)),
    ('{"points": [{"x": 1}], "color": "BLUE"}', Line, Line([Point(x=1)], Color.BLUE)),
    ("BLUE", Color, Color.BLUE),
    ("SMALL", Size, Size.SMALL),
    ("a/b", Path, Path("a/b")),
    ("a/b", os.PathLike, Path("a/b")),
    ("a", Path | None, Path("a")),
    ('["a"]', list[Path], [Path("a")]),
    ("3", Any, 3),
    ("three", Any, "three"),
    ("2.5", Meters, 2.5),
    ("2", Annotated[int, "m"], 2),
]


def test_texts_are_read_by_annotation(check_all: Callable[..., None]) -> None:
    """A text becomes a value of its parameter's type; containers are written as JSON."""

    def check(row: tuple[str, Any, Any]) -> None:
        text, annotation, expected = row
        assert same(parse_text(text, annotation, "argument"), expected)

    check_all(check, TEXTS)


@pytest.mark.parametrize(
    ("text", "annotation", "words"),
    [
        ("3.0", int, "an integer, not '3.0' (str)"),
        ("1_000", int, "an integer"),
        ("1_0.5", float, "a number"),
        ("yes", bool, "True or False"),
        ("c", Literal["a", "b"], "'a' or 'b'"),
        ("GREEN", Color, "'RED' or 'BLUE', not 'GREEN' (str)"),
        ("a", list[str], "a list of strings, not 'a' (str)"),
        ("{", dict[str, int], "a mapping to integers"),
        ("[" * 100_000, list[int], "a list of integers"),
        ('{"a": 1.5}', dict[str, int], "an integer, not 1.5 (float)"),
        ("x", Optional[int], "an integer or None, not 'x' (str)"),
        ("x", bytes, "bytes"),
        ("x", Callable[[], Any], "a function"),
    ],
)
def test_texts_that_do_not_fit_are_refused(text: str, annotation: Any, words: str) -> None:
    """A text that does not fit is an error that names the expected form."""
    with pytest.raises(OptionTypeError) as caught:
        parse_text(text, annotation, "argument")
    assert caught.value.option.startswith("argument")
    assert words in str(caught.value)


def test_json_is_read_by_annotation() -> None:
    """Parsed JSON is converted by the same rules, and no string becomes a number."""
    assert parse_json({"x": 1}, Point, "argument") == Point(x=1)
    assert parse_json("RED", Color, "argument") is Color.RED
    with pytest.raises(OptionTypeError, match="an integer, not '3'"):
        parse_json("3", int, "argument")


@given(st.one_of(st.integers(), st.booleans(), st.floats(allow_nan=False), st.text()))
def test_texts_of_plain_values_are_read_back(value: Any) -> None:
    """The text that ``str`` makes of a plain value is read back as that value."""
    assert same(parse_text(str(value), type(value), "argument"), value)
