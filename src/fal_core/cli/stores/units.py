"""Sizes and ages, as people write and read them."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    _IntType = click.ParamType[int]
    _FloatType = click.ParamType[float]
else:
    _IntType = _FloatType = click.ParamType

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(I)?(B)?", re.IGNORECASE)
_LENGTHS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_AGE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(s|min|h|d|w)")


class Size(_IntType):
    """A number of bytes, as in ``2GB``."""

    name = "size"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        if isinstance(value, int):
            return value
        match = _SIZE.fullmatch(str(value).strip())
        if match is None or (match[3] and not match[2]):
            self.fail(f"{value!r} is not a size. Write it as in 500MB or 2GB.", param, ctx)
        if not (match[2] or match[4]) and float(match[1]):
            # A user who leaves the unit out rarely means bytes, and would prune all.
            self.fail(f"{value!r} has no unit. Write it as in 500MB or 2GB.", param, ctx)
        number, unit, binary = match[1], match[2].upper(), match[3]
        return int(float(number) * (_BINARY_UNITS if binary else _UNITS)[unit])


class Age(_FloatType):
    """A number of seconds, as in ``30d``."""

    name = "age"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        match = _AGE.fullmatch(str(value).strip())
        if match is None:
            self.fail(f"{value!r} is not an age. Write it as in 12h, 30d or 4w.", param, ctx)
        return float(match[1]) * _LENGTHS[match[2]]


def format_age(since: float) -> str:
    """Return how long ago *since* was, in seconds since the epoch, as in ``3 d``."""
    seconds = max(0.0, time.time() - since)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"
