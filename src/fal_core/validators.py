"""
Validators: bounds for options that are numbers.

A bound is declared on the field, so that it is checked whenever the class is made; the
options of plugins use the same validators as the core's own::

    workers: int | None = attrs.field(default=None, validator=at_least(1))

None, which means *not set*, passes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from fal_core.errors import OptionValueError

#: Beyond it clocks and system calls overflow.
MOST_SECONDS = 30 * 365.25 * 86400

Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def at_least(least: float) -> Validator:
    """
    Return a validator for numbers of at least *least*.
    """
    return _validator(lambda value: value >= least, f"at least {least}")


def more_than(least: float) -> Validator:
    """
    Return a validator for numbers above *least*.
    """
    return _validator(lambda value: value > least, f"more than {least}")


def between(least: float, most: float) -> Validator:
    """
    Return a validator for numbers from *least* to *most*, both included.
    """
    return _validator(lambda value: least <= value <= most, f"from {least} to {most}")


def no_less_than(other: str) -> Validator:
    """
    Return a validator for numbers that are at least the value of option *other*.
    """

    def check(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        least = getattr(instance, other)
        if value is not None and least is not None and value < least:
            words = f"at least {least}, which option {other!r} asks for"
            raise OptionValueError(str(attribute.alias), repr(value), words)

    return check


def seconds(within: Validator) -> Validator:
    """
    Return a validator for seconds that are also *within* other bounds.
    """

    def check(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        within(instance, attribute, value)
        most(instance, attribute, value)

    most = _validator(lambda value: value <= MOST_SECONDS, "30 years at most, in seconds")
    return check


def _validator(is_within: Callable[[Any], bool], words: str) -> Validator:
    def check(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value is not None and not is_within(value):
            # An integer that the user wrote has become a float.
            whole = isinstance(value, float) and value.is_integer()
            shown = repr(int(value) if whole else value)
            raise OptionValueError(str(attribute.alias), shown, words)

    return check
