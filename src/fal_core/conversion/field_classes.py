"""Classes with fields, filled by cattrs: attrs classes, dataclasses and typed dictionaries."""

from __future__ import annotations

import collections.abc
import enum
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cattrs
from cattrs.errors import BaseValidationError, ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn, typeddicts

from fal_core.conversion.annotations import (
    CONTAINERS,
    PRIMITIVES,
    UNIONS,
    alternatives,
    describe,
    has_fields,
    kind_of_type,
)
from fal_core.conversion.mismatches import Mismatch
from fal_core.conversion.scalars import is_scalar

#: Makes what an annotation declares of a value, or raises :class:`Mismatch`.
Structure = Callable[[Any, Any], Any]


def make_converter(structure: Structure) -> cattrs.Converter:
    """
    Make the converter that fills classes with fields, strictly.

    Arguments:
        structure: Structures the fields.
    """
    made = cattrs.Converter(forbid_extra_keys=True)
    # cattrs has hooks of its own for these classes.
    for kind in (*PRIMITIVES, Path, enum.Enum):
        made.register_structure_hook(kind, structure)
    # The hook registered last is asked first.
    made.register_structure_hook_func(_is_plain, structure)
    made.register_structure_hook_factory(has_fields, _fields_hook)
    return made


def _is_plain(target: Any) -> bool:
    """Tell whether *target* is structured without cattrs."""
    kind = kind_of_type(target)
    return kind in CONTAINERS or kind in UNIONS or kind is typing.Literal or is_scalar(target)


def _fields_hook(target: Any, made: cattrs.Converter) -> Structure:
    is_mapping = typing.is_typeddict(kind_of_type(target))
    fill: Structure
    if is_mapping:
        fill = typeddicts.make_dict_structure_fn(
            target,
            made,
            _cattrs_forbid_extra_keys=True,
            _cattrs_detailed_validation=True,
        )
    else:
        fill = make_dict_structure_fn(
            target,
            made,
            _cattrs_use_alias=True,
            _cattrs_forbid_extra_keys=True,
            _cattrs_detailed_validation=True,
        )

    def structure_fields(value: Any, _: Any) -> Any:
        if not is_mapping and isinstance(value, kind_of_type(target)):
            return value
        if not isinstance(value, collections.abc.Mapping):
            raise Mismatch(value, describe(target))
        # cattrs takes every name for a string: 24.1 raises TypeError for another.
        if unnamed := [name for name in value if not isinstance(name, str)]:
            raise _no_such_fields(unnamed, value, target)
        try:
            return fill(dict(value), target)
        except BaseValidationError as errors:
            raise _first_mismatch(errors, value, target) from None

    return structure_fields


def _first_mismatch(errors: BaseValidationError, value: Any, target: Any) -> Mismatch:
    """Return the first thing that is wrong with the fields of *value*."""
    error = errors.exceptions[0]
    notes = getattr(error, "__notes__", ())
    field = next((note.name for note in notes if hasattr(note, "name")), None)
    words = describe(target)
    if isinstance(error, Mismatch):
        return error.inside(f".{field}")
    if isinstance(error, ForbiddenExtraKeysError):
        return _no_such_fields(error.extra_fields, value, target)
    if isinstance(error, KeyError) and field is not None:
        return Mismatch(value, f"{words} with {field!r}", progress=(0,))
    return Mismatch(value, f"{words} ({error})")


def _no_such_fields(names: Iterable[Any], value: Any, target: Any) -> Mismatch:
    extra = alternatives(sorted(repr(name) for name in names))
    # It came as far as a field: of a union it is the arm to speak of.
    return Mismatch(value, f"{describe(target)}, which has no {extra}", progress=(0,))
