"""
The hooks that make cattrs strict: it coerces unless told not to.
"""

from __future__ import annotations

import collections.abc
import enum
import functools
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs
import cattrs
from cattrs.errors import BaseValidationError, ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn, typeddicts

from fal_core.conversion.annotations import (
    MAPPINGS,
    PRIMITIVES,
    SEQUENCES,
    SETS,
    UNIONS,
    alternatives,
    describe,
    kind_of_type,
)
from fal_core.conversion.mismatches import Manner, Mismatch, nearest
from fal_core.conversion.scalars import is_scalar, structure_literal, structure_scalar

Hook = Callable[[Any, Any], Any]


def make_converter(manner: Manner) -> cattrs.Converter:
    """
    Make the cattrs converter of *manner*; it raises :class:`Mismatch`.
    """
    made = cattrs.Converter(forbid_extra_keys=manner != "wire")
    scalar = functools.partial(structure_scalar, manner=manner)
    literal = functools.partial(structure_literal, manner=manner)
    for kind in (*PRIMITIVES, Path, enum.Enum):
        made.register_structure_hook(kind, scalar)
    # The one registered last is asked first.
    made.register_structure_hook_func(is_scalar, scalar)
    made.register_structure_hook_factory(_is_record, _record_hook)
    made.register_structure_hook_factory(lambda target: kind_of_type(target) in SETS, _set_hook)
    made.register_structure_hook_factory(
        lambda target: kind_of_type(target) in SEQUENCES, _sequence_hook
    )
    made.register_structure_hook_factory(
        lambda target: kind_of_type(target) in MAPPINGS, _mapping_hook
    )
    made.register_structure_hook_factory(
        lambda target: kind_of_type(target) in UNIONS, _union_hook
    )
    made.register_structure_hook_func(lambda target: kind_of_type(target) is Literal, literal)
    return made


# -- Values made of values -----------------------------------------------------


def _within(step: str, index: int, hook: Hook, value: Any, target: Any) -> Any:
    try:
        return hook(value, target)
    except Mismatch as mismatch:
        raise mismatch.inside(step, index) from None


def _sequence_hook(target: Any, made: cattrs.Converter) -> Hook:
    kind, arguments = kind_of_type(target), typing.get_args(target)
    build = SEQUENCES[kind]
    if kind is tuple and arguments and Ellipsis not in arguments:
        hooks = [made.get_structure_hook(each) for each in arguments]
        return functools.partial(_structure_fixed, hooks=hooks)
    item_type = arguments[0] if arguments else Any
    item_hook = made.get_structure_hook(item_type)

    def structure_sequence(value: Any, _: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise Mismatch(value, describe(target))
        return build(
            _within(f"[{index}]", index, item_hook, item, item_type)
            for index, item in enumerate(value)
        )

    return structure_sequence


def _structure_fixed(value: Any, target: Any, *, hooks: Sequence[Hook]) -> Any:
    if not isinstance(value, list | tuple) or len(value) != len(hooks):
        raise Mismatch(value, describe(target))
    each = zip(hooks, value, typing.get_args(target), strict=True)
    return tuple(
        _within(f"[{index}]", index, hook, item, item_type)
        for index, (hook, item, item_type) in enumerate(each)
    )


def _set_hook(target: Any, made: cattrs.Converter) -> Hook:
    build = SETS[kind_of_type(target)]
    (item_type,) = typing.get_args(target) or (Any,)
    item_hook = made.get_structure_hook(item_type)

    def structure_set(value: Any, _: Any) -> Any:
        if not isinstance(value, list | tuple | collections.abc.Set):
            raise Mismatch(value, describe(target))
        items = [
            _within(f"[{index}]", index, item_hook, item, item_type)
            for index, item in enumerate(value)
        ]
        try:
            return build(items)
        except TypeError:
            raise Mismatch(value, f"{describe(target)} that can be hashed") from None

    return structure_set


def _mapping_hook(target: Any, made: cattrs.Converter) -> Hook:
    key_type, value_type = typing.get_args(target) or (Any, Any)
    key_hook, value_hook = map(made.get_structure_hook, (key_type, value_type))

    def structure_mapping(value: Any, _: Any) -> Any:
        if not isinstance(value, collections.abc.Mapping):
            raise Mismatch(value, describe(target))
        return {
            _within(f"[{key!r}]", index, key_hook, key, key_type): _within(
                f"[{key!r}]", index, value_hook, item, value_type
            )
            for index, (key, item) in enumerate(value.items())
        }

    return structure_mapping


def _union_hook(target: Any, made: cattrs.Converter) -> Hook:
    arms = typing.get_args(target)
    hooks = [(arm, made.get_structure_hook(arm)) for arm in arms]

    def structure_union(value: Any, _: Any) -> Any:
        if type(value) in PRIMITIVES and type(value) in arms:
            return value
        mismatches = []
        for arm, hook in hooks:
            try:
                return hook(value, arm)
            except Mismatch as mismatch:
                mismatches.append(mismatch)
        raise nearest(mismatches, target)

    return structure_union


# -- Classes with fields ---------------------------------------------------------


def _is_record(target: Any) -> bool:
    kind = kind_of_type(target)
    return isinstance(kind, type) and (
        attrs.has(kind) or hasattr(kind, "__dataclass_fields__") or typing.is_typeddict(kind)
    )


def _record_hook(target: Any, made: cattrs.Converter) -> Hook:
    is_mapping = typing.is_typeddict(kind_of_type(target))
    fill: Hook
    if is_mapping:
        fill = typeddicts.make_dict_structure_fn(
            target,
            made,
            _cattrs_forbid_extra_keys=made.forbid_extra_keys,
            _cattrs_detailed_validation=True,
        )
    else:
        fill = make_dict_structure_fn(
            target,
            made,
            _cattrs_use_alias=True,
            _cattrs_forbid_extra_keys=made.forbid_extra_keys,
            _cattrs_detailed_validation=True,
        )

    def structure_record(value: Any, _: Any) -> Any:
        if not is_mapping and isinstance(value, kind_of_type(target)):
            return value
        if not isinstance(value, collections.abc.Mapping):
            raise Mismatch(value, describe(target))
        try:
            return fill(dict(value), target)
        except BaseValidationError as errors:
            raise _first_mismatch(errors, value, target) from None

    return structure_record


def _first_mismatch(errors: BaseValidationError, value: Any, target: Any) -> Mismatch:
    """
    Return the first thing that is wrong with the fields of *value*.
    """
    error = errors.exceptions[0]
    notes = getattr(error, "__notes__", ())
    field = next((note.name for note in notes if hasattr(note, "name")), None)
    words = describe(target)
    if isinstance(error, Mismatch):
        return error.inside(f".{field}")
    if isinstance(error, ForbiddenExtraKeysError):
        extra = alternatives(sorted(repr(name) for name in error.extra_fields))
        # It came as far as a field: of a union it is the arm to speak of.
        return Mismatch(value, f"{words}, which has no {extra}", progress=(0,))
    if isinstance(error, KeyError) and field is not None:
        return Mismatch(value, f"{words} with {field!r}", progress=(0,))
    return Mismatch(value, f"{words} ({error})")
