"""
Validators: bounds for options that are numbers, and the types of what hosts claim.

A bound is declared on the field, so that it is checked whenever the class is made; the
options of plugins use the same validators as the core's own::

    workers: int | None = attrs.field(default=None, validator=at_least(1))

None, which means *not set*, passes.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from typing import Any

import attrs

from fal_core.errors import OptionTypeError, OptionValueError

#: Beyond it clocks and system calls overflow.
MOST_SECONDS = 30 * 365.25 * 86400

Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def at_least(least: float) -> Validator:
    """Return a validator for numbers of at least *least*."""
    return _validator(lambda value: value >= least, f"at least {least}")


def more_than(least: float) -> Validator:
    """Return a validator for numbers above *least*."""
    return _validator(lambda value: value > least, f"more than {least}")


def between(least: float, most: float) -> Validator:
    """Return a validator for numbers from *least* to *most*, both included."""
    return _validator(lambda value: least <= value <= most, f"from {least} to {most}")


def no_less_than(other: str) -> Validator:
    """Return a validator for numbers that are at least the value of option *other*."""

    def check(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        least = getattr(instance, other)
        if value is not None and least is not None and value < least:
            words = f"at least {least}, which option {other!r} asks for"
            raise OptionValueError(str(attribute.alias), repr(value), words)

    return check


def seconds(within: Validator) -> Validator:
    """Return a validator for seconds that are also *within* other bounds."""

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


def _check_claim(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Refuse a claim of another type than its field has. A text would pass for a set of names."""
    kind, expected = _CLAIMED[str(attribute.type)]
    is_unset = value is None and str(attribute.type).endswith("None")
    # What a collection holds are texts.
    fits = type(value) is kind and (
        isinstance(value, int) or all(isinstance(each, str) for each in value)
    )
    if not is_unset and not fits:
        got = "None" if value is None else f"{reprlib.repr(value)} ({type(value).__name__})"
        raise OptionTypeError(f"capabilities.{attribute.name}", got, expected)


#: The type that fits each annotation, and what is to be written.
_CLAIMED: dict[str, tuple[type[Any], str]] = {
    "frozenset[str] | None": (
        frozenset,
        "a frozenset of names, as in frozenset({'…'}), or None",
    ),
    "tuple[str, ...] | None": (tuple, "a tuple of versions, as in ('3.11',), or None"),
    "int": (int, "an integer"),
    "bool": (bool, "True or False"),
}


def _freeze(claim: Any) -> Any:
    if type(claim) is set:
        return frozenset(claim)
    return tuple(claim) if type(claim) is list else claim


def check_claims(_: type, fields: list[attrs.Attribute[Any]]) -> list[attrs.Attribute[Any]]:
    """
    Transform the fields of a class of claims, so that the type of each is checked before its
    bounds.
    """
    checks = [list(filter(None, (_check_claim, field.validator))) for field in fields]
    return [
        field.evolve(converter=_freeze, validator=attrs.validators.and_(*each))
        for field, each in zip(fields, checks, strict=True)
    ]
