"""
Bounds: validators for the fields of options that are numbers.

They are declared on the field, so that an option is checked wherever its class
is made, and a plugin's options as the core's own::

    workers: int | None = attrs.field(default=None, validator=at_least(1))

None stands for what is not set, and passes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from fal_core.errors import OptionValueError

#: Beyond it clocks and the system's calls overflow.
MOST_SECONDS = 30 * 365.25 * 86400

Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def at_least(least: float) -> Validator:
    """
    Return the validator of a number that is *least* or more.
    """
    return _validator(lambda value: value >= least, f"at least {least}")


def more_than(least: float) -> Validator:
    """
    Return the validator of a number that is more than *least*.
    """
    return _validator(lambda value: value > least, f"more than {least}")


def between(least: float, most: float) -> Validator:
    """
    Return the validator of a number from *least* to *most*, both included.
    """
    return _validator(lambda value: least <= value <= most, f"from {least} to {most}")


def no_less_than(other: str) -> Validator:
    """
    Return the validator of a number that is as much as the option *other*, or more.
    """

    def check(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        least = getattr(instance, other)
        if value is not None and least is not None and value < least:
            words = f"at least {least}, which option {other!r} asks for"
            raise OptionValueError(str(attribute.alias), repr(value), words)

    return check


def seconds(within: Validator) -> Validator:
    """
    Return the validator of a span of time that is also *within* other bounds.
    """

    def check(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        within(instance, attribute, value)
        most(instance, attribute, value)

    most = _validator(lambda value: value <= MOST_SECONDS, "30 years at most, in seconds")
    return check


def _validator(is_within: Callable[[Any], bool], words: str) -> Validator:
    def check(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value is not None and not is_within(value):
            # An integer that was written is a float by now.
            whole = isinstance(value, float) and value.is_integer()
            shown = repr(int(value) if whole else value)
            raise OptionValueError(str(attribute.alias), shown, words)

    return check
