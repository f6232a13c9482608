"""Types that values are structured to, and how values of them are compared and refused."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import Any, NewType

import attrs
import pytest

from fal_core.conversion.structuring import structure
from fal_core.errors import OptionTypeError


class Color(enum.Enum):
    RED = "#f00"
    BLUE = "#00f"


class Size(enum.IntEnum):
    SMALL = 1


class Text(str):
    pass


@attrs.frozen(kw_only=True)
class Point:
    x: int
    y: float = 0.0
    _name: str = attrs.field(default="", alias="_name")


@attrs.frozen
class Even:
    number: int = attrs.field()

    @number.validator
    def _check(self, _: object, value: int) -> None:
        if value % 2:
            raise ValueError(f"{value} is odd")


@dataclass
class Line:
    points: list[Point]
    color: Color = Color.RED


Meters = NewType("Meters", float)


Layers = list[str] | list[list[str]]


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are equal and of one type, all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    return bool(one == other)


def refusal(value: Any, annotation: Any) -> OptionTypeError:
    """Return the error for the value of an option that is refused."""
    with pytest.raises(OptionTypeError) as caught:
        structure(value, annotation, "option")
    assert str(caught.value).startswith(f"Option {caught.value.option!r} must be ")
    return caught.value
