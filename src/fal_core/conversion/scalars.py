"""Scalars: values that hold no others, taken as they are or refused."""

from __future__ import annotations

import collections.abc
import enum
import os
import typing
from typing import Any

from fal_core.conversion.annotations import alternatives, describe, kind_of_type
from fal_core.conversion.mismatches import Manner, Mismatch


def is_scalar(target: Any) -> bool:
    """Tell whether :func:`structure_scalar` is for *target*."""
    kind = kind_of_type(target)
    if kind is typing.Annotated or typing.is_typeddict(kind):
        return False
    return kind is None or isinstance(kind, type)


def structure_scalar(value: Any, target: Any, *, manner: Manner) -> Any:
    """
    Return *value*, which is an instance of *target*, or names one.

    Raises:
        Mismatch: It does neither.
    """
    kind = kind_of_type(target)
    if _is_instance(value, kind):
        return value
    if kind is float and _is_instance(value, int):
        return _as_float(value)
    if manner == "text" and isinstance(value, str | int):
        return _structure_name(value, target)
    raise Mismatch(value, describe(target))


def _structure_name(value: str | int, target: Any) -> Any:
    """Return the enum member, the path or the date that *value* names."""
    import datetime

    kind = kind_of_type(target)
    if issubclass(kind, enum.Enum):
        if isinstance(value, str) and value in kind.__members__:
            return kind[value]
        for member in kind:
            if type(member.value) is type(value) and member.value == value:
                return member
        raise Mismatch(value, alternatives([repr(name) for name in kind.__members__]))
    if isinstance(value, str) and issubclass(kind, os.PathLike):
        if kind is not os.PathLike:
            return kind(value)
        from pathlib import Path

        return Path(value)
    if isinstance(value, str) and issubclass(kind, datetime.date | datetime.time):
        return _structure_time(value, kind)
    raise Mismatch(value, describe(target))


def _structure_time(value: str, kind: Any) -> Any:
    import datetime
    import re

    try:
        # Python 3.10 does not know the Z of ISO 8601.
        return kind.fromisoformat(re.sub(r"(?<=\d)[Zz]$", "+00:00", value))
    except ValueError:
        if issubclass(kind, datetime.datetime):
            example = "2026-01-31T23:59:00+00:00"
        else:
            example = "2026-01-31" if issubclass(kind, datetime.date) else "23:59:00"
        raise Mismatch(value, f"{describe(kind)}, as in {example}") from None


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
    # A bool is an int to Python, and a mistake where an integer is declared.
    if kind is int and isinstance(value, bool):
        return False
    try:
        return isinstance(value, kind)
    except TypeError:
        # A protocol that cannot be checked at run time accepts every value.
        return True


def structure_literal(value: Any, target: Any, *, manner: Manner) -> Any:
    """
    Return the value of the literal *target* that equals *value*.

    Raises:
        Mismatch: There is none.
    """
    for one in typing.get_args(target):
        if type(one) is type(value) and one == value:
            return one
        if manner == "text" and isinstance(one, enum.Enum) and one.name == value:
            return one
    raise Mismatch(value, describe(target))
