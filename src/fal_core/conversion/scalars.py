"""
Scalars: values that are not made of others, taken as they are or not at all.
"""

from __future__ import annotations

import collections.abc
import datetime
import enum
import os
import re
import typing
from pathlib import Path
from typing import Any

from fal_core.conversion.annotations import alternatives, describe, kind_of_type
from fal_core.conversion.mismatches import Manner, Mismatch


def is_scalar(target: Any) -> bool:
    """
    Tell whether :func:`structure_scalar` is for *target*.
    """
    kind = kind_of_type(target)
    if kind is typing.Annotated or typing.is_typeddict(kind):
        return False
    return kind is None or isinstance(kind, type)


def structure_scalar(value: Any, target: Any, *, manner: Manner) -> Any:
    """
    Return *value* as the class *target* has it.

    Raises:
        Mismatch: It is none.
    """
    kind = kind_of_type(target)
    if manner == "wire" and kind is int and type(value) is float and value.is_integer():
        return int(value)
    if _is_instance(value, kind):
        return value
    if kind is float and _is_instance(value, int):
        return _as_float(value)
    if manner == "text" and isinstance(value, str | int):
        return _structure_name(value, target)
    raise Mismatch(value, describe(target))


def _structure_name(value: str | int, target: Any) -> Any:
    """
    Return the enum member, the path or the date that *value* names.
    """
    kind = kind_of_type(target)
    if issubclass(kind, enum.Enum):
        if isinstance(value, str) and value in kind.__members__:
            return kind[value]
        for member in kind:
            if type(member.value) is type(value) and member.value == value:
                return member
        raise Mismatch(value, alternatives([repr(name) for name in kind.__members__]))
    if isinstance(value, str) and issubclass(kind, os.PathLike):
        return Path(value) if kind is os.PathLike else kind(value)
    if isinstance(value, str) and issubclass(kind, datetime.date | datetime.time):
        return _structure_time(value, kind)
    raise Mismatch(value, describe(target))


#: How a date and a time are written.
_WRITTEN = {
    datetime.datetime: "2026-01-31T23:59:00+00:00",
    datetime.date: "2026-01-31",
    datetime.time: "23:59:00",
}


def _structure_time(value: str, kind: Any) -> Any:
    try:
        # The Z of ISO 8601 is none to Python 3.10.
        return kind.fromisoformat(re.sub(r"(?<=\d)[Zz]$", "+00:00", value))
    except ValueError:
        written = next(words for each, words in _WRITTEN.items() if issubclass(kind, each))
        raise Mismatch(value, f"{describe(kind)}, as in {written}") from None


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        raise Mismatch(value, "a number that a float can hold") from None


def _is_instance(value: Any, kind: Any) -> bool:
    if kind is None:
        return value is None
    if kind is collections.abc.Callable:
        return callable(value)
    # A bool is an int to Python, and a mistake to whoever wrote the option.
    if kind is int and isinstance(value, bool):
        return False
    try:
        return isinstance(value, kind)
    except TypeError:
        # A protocol that says nothing at run time cannot be held against a value.
        return True


def structure_literal(value: Any, target: Any, *, manner: Manner) -> Any:
    """
    Return the one of the values of *target* that *value* is.

    Raises:
        Mismatch: It is none.
    """
    for one in typing.get_args(target):
        is_number = manner == "wire" and type(one) is int and type(value) is float
        if (type(one) is type(value) or is_number) and one == value:
            return one
        if manner == "text" and isinstance(one, enum.Enum) and one.name == value:
            return one
    raise Mismatch(value, describe(target))
