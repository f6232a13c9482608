"""Mismatches: which of them is reported, and how it is shown."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from conversion_examples import Layers, refusal


@pytest.mark.parametrize(
    ("value", "annotation", "where", "words"),
    [
        ("no", bool | None, "option", "True, False or None, not 'no' (str)"),
        (["a", "b", 3], Layers, "option[2]", "a string, not 3 (int)"),
        ([["a"], ["b", 3]], Layers, "option[1][1]", "a string, not 3 (int)"),
        ([["a"], "b"], Layers, "option[1]", "a list of strings, not 'b' (str)"),
        ([3], Layers, "option[0]", "a string or a list of strings, not 3 (int)"),
        ("a", Layers, "option", "a list of strings or a list of lists of strings"),
        (3, str | tuple[str, ...] | None, "option", "a string, a list of strings or None"),
        ("c", Literal["a", "b"] | None, "option", "'a', 'b' or None, not 'c' (str)"),
    ],
)
def test_the_arm_that_came_furthest_is_reported(
    value: Any, annotation: Any, where: str, words: str
) -> None:
    """Where no arm of a union fits, the error speaks of the one that came furthest, or of all."""
    error = refusal(value, annotation)
    assert error.option == where
    assert words in str(error)


def test_long_value_is_shortened() -> None:
    """An error quotes a long value in part."""
    assert len(str(refusal("x" * 10_000, int))) < 120
