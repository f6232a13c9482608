"""
Values that need a closer look, made into what an annotation declares, or refused.

cattrs fills classes with fields, and hands each field back; nothing else needs it, and
importing it takes as long as importing fal_core.
"""

from __future__ import annotations

import collections.abc
import functools
import typing
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from fal_core.conversion.annotations import (
    MAPPINGS,
    PRIMITIVES,
    SEQUENCES,
    SETS,
    UNIONS,
    describe,
    has_fields,
    kind_of_type,
    plain,
)
from fal_core.conversion.mismatches import Manner, Mismatch, nearest, show
from fal_core.conversion.scalars import is_scalar, structure_literal, structure_scalar
from fal_core.errors import OptionTypeError

if TYPE_CHECKING:
    import cattrs


def structure_strictly(value: Any, annotation: Any, where: str, *, manner: Manner) -> Any:
    """
    Return *value* as *annotation* has it, regardless of their types.

    Arguments:
        where: The name of the option or the parameter, for the error.

    Raises:
        OptionTypeError: *value* is of another type.
    """
    try:
        return _structure(value, annotation, manner)
    except Mismatch as mismatch:
        path = where + "".join(mismatch.path)
        raise OptionTypeError(path, show(mismatch.value), mismatch.expected) from None


def _structure(value: Any, annotation: Any, manner: Manner) -> Any:
    """Return *value* as *annotation* has it, or raise :class:`Mismatch`."""
    if annotation is Any or type(value) is annotation:
        return value
    if annotation in PRIMITIVES:
        return structure_scalar(value, annotation, manner=manner)
    target = plain(annotation)
    kind = kind_of_type(target)
    if kind in UNIONS:
        return _structure_union(value, target, manner)
    if kind is Literal:
        return structure_literal(value, target, manner=manner)
    if kind in SEQUENCES:
        return _structure_sequence(value, target, manner)
    if kind in MAPPINGS:
        return _structure_mapping(value, target, manner)
    if kind in SETS:
        return _structure_set(value, target, manner)
    if is_scalar(target) and not has_fields(target):
        return structure_scalar(value, target, manner=manner)
    return _converter(manner).structure(value, target)


@functools.cache
def _converter(manner: Manner) -> cattrs.Converter:
    from fal_core.conversion.field_classes import make_converter

    return make_converter(functools.partial(_structure, manner=manner))


def _structure_within(step: str, index: int, value: Any, target: Any, manner: Manner) -> Any:
    try:
        return _structure(value, target, manner)
    except Mismatch as mismatch:
        raise mismatch.inside(step, index) from None


def _structure_union(value: Any, target: Any, manner: Manner) -> Any:
    arms = typing.get_args(target)
    if type(value) in PRIMITIVES and type(value) in arms:
        return value
    mismatches = []
    for arm in arms:
        try:
            return _structure(value, arm, manner)
        except Mismatch as mismatch:
            mismatches.append(mismatch)
    raise nearest(mismatches, target)


def _structure_sequence(value: Any, target: Any, manner: Manner) -> Any:
    if not isinstance(value, list | tuple):
        raise Mismatch(value, describe(target))
    kind, arguments = kind_of_type(target), typing.get_args(target)
    if kind is tuple and arguments and Ellipsis not in arguments:
        return _structure_fixed(value, target, arguments, manner)
    item_type = arguments[0] if arguments else Any
    return SEQUENCES[kind](
        _structure_within(f"[{index}]", index, item, item_type, manner)
        for index, item in enumerate(value)
    )


def _structure_fixed(
    value: Sequence[Any], target: Any, item_types: Sequence[Any], manner: Manner
) -> Any:
    if len(value) != len(item_types):
        raise Mismatch(value, describe(target))
    return tuple(
        _structure_within(f"[{index}]", index, item, item_type, manner)
        for index, (item, item_type) in enumerate(zip(value, item_types, strict=True))
    )


def _structure_set(value: Any, target: Any, manner: Manner) -> Any:
    if not isinstance(value, list | tuple | collections.abc.Set):
        raise Mismatch(value, describe(target))
    (item_type,) = typing.get_args(target) or (Any,)
    items = [
        _structure_within(f"[{index}]", index, item, item_type, manner)
        for index, item in enumerate(value)
    ]
    try:
        return SETS[kind_of_type(target)](items)
    except TypeError:
        raise Mismatch(value, f"{describe(target)} that can be hashed") from None


def _structure_mapping(value: Any, target: Any, manner: Manner) -> Any:
    if not isinstance(value, collections.abc.Mapping):
        raise Mismatch(value, describe(target))
    key_type, value_type = typing.get_args(target) or (Any, Any)
    return {
        _structure_within(f"[{key!r}]", index, key, key_type, manner): _structure_within(
            f"[{key!r}]", index, item, value_type, manner
        )
        for index, (key, item) in enumerate(value.items())
    }
