"""Classes with fields: filled by name, strictly."""

from __future__ import annotations

from typing import Any, TypedDict

import pytest
from conversion_examples import Even, Line, Point, refusal, same

from fal_core.conversion.structuring import structure


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (Point(x=1), Point, Point(x=1)),
        ({"x": 1, "_name": "n"}, Point, Point(x=1, _name="n")),
        ({"points": [{"x": 1}]}, Line, Line([Point(x=1)])),
    ],
)
def test_mappings_fill_the_fields(value: Any, annotation: Any, expected: Any) -> None:
    """A mapping fills the fields by their names; an instance is taken as it is."""
    assert same(structure(value, annotation, "option"), expected)


@pytest.mark.parametrize(
    ("value", "annotation", "where", "words"),
    [
        (3, Even, "option", "an Even, not 3 (int)"),
        ({"number": 3}, Even, "option", "3 is odd"),
        ({"x": "1"}, Point, "option.x", "an integer, not '1' (str)"),
        ({"points": [{"x": 1}, {"x": 2, "y": "z"}]}, Line, "option.points[1].y", "a number"),
        ({"x": 1, "z": 2}, Point, "option", "which has no 'z'"),
        ({"x": 1, 2: "z"}, Point, "option", "which has no 2"),
        ({}, Point, "option", "a Point with 'x'"),
    ],
)
def test_mappings_that_do_not_fit_the_fields_are_refused(
    value: Any, annotation: Any, where: str, words: str
) -> None:
    """The error names the field that is wrong, missing or unknown."""
    error = refusal(value, annotation)
    assert error.option == where
    assert words in str(error)


class Place(TypedDict, total=False):
    """A mapping whose keys are declared."""

    name: str
    point: Point


def test_typed_dictionaries_are_filled_too() -> None:
    """A typed dictionary stays a mapping; its values are structured, and other keys refused."""
    written: dict[str, Any] = {"name": "here", "point": {"x": 1}}
    assert structure(written, Place, "option") == {"name": "here", "point": Point(x=1)}
    assert written["point"] == {"x": 1}
    assert refusal({"point": {"x": "1"}}, Place).option == "option.point.x"
    assert "which has no 'nme'" in str(refusal({"nme": "here"}, Place))
