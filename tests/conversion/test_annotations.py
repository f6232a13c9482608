"""Words for annotations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from conversion_examples import Point

from fal_core.conversion.annotations import describe


def test_words_for_annotations_read_as_language() -> None:
    """Annotations are described in words, not in Python."""
    assert describe(list[str] | list[list[str]] | None) == (
        "a list of strings, a list of lists of strings or None"
    )
    assert describe(None | Callable[[], Any]) == "a function or None"
    assert describe(dict[str, int | str]) == "a mapping to integers or strings"
    assert describe(list[Point]) == "a list of values that are a Point"
