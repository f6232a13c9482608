"""
The hooks that make cattrs strict: it coerces unless told not to.
"""

from __future__ import annotations

import collections.abc
import enum
import functools
import os
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs
import cattrs
from cattrs.errors import BaseValidationError, ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn

from fal_core.annotations import (
    MAPPINGS,
    PRIMITIVES,
    SEQUENCES,
    SETS,
    UNIONS,
    alternatives,
    describe,
)

#: ``written`` is strict. ``wire`` takes whole doubles for integers and ignores
#: unknown keys. ``text`` is strict, and takes names for enums and strings for paths.
Manner = Literal["written", "wire", "text"]

Hook = Callable[[Any, Any], Any]


@attrs.define
class Mismatch(Exception):
    """
    A value that does not fit.

    Attributes:
        path: The way to it from the outermost value, as in ``("[2]", ".name")``.

        progress: How far the converter came: the indices on that way.
    """

    value: Any
    expected: str
    path: tuple[str, ...] = ()
    progress: tuple[int, ...] = ()

    def inside(self, step: str, index: int = 0) -> Mismatch:
        """
        Return it as seen from the value that holds it at *step*.
        """
        return Mismatch(self.value, self.expected, (step, *self.path), (index, *self.progress))


def make_converter(manner: Manner) -> cattrs.Converter:
    """
    Make the cattrs converter of *manner*; it raises :class:`Mismatch`.
    """
    made = cattrs.Converter(forbid_extra_keys=manner != "wire")
    leaf = functools.partial(_structure_leaf, manner=manner)
    literal = functools.partial(_structure_literal, manner=manner)
    for kind in (*PRIMITIVES, Path):
        made.register_structure_hook(kind, leaf)
    # The one registered last is asked first.
    made.register_structure_hook_func(_is_leaf, leaf)
    made.register_structure_hook_factory(_is_record, _record_hook)
    made.register_structure_hook_factory(lambda target: _kind(target) in SETS, _set_hook)
    made.register_structure_hook_factory(
        lambda target: _kind(target) in SEQUENCES, _sequence_hook
    )
    made.register_structure_hook_factory(
        lambda target: _kind(target) in MAPPINGS, _mapping_hook
    )
    made.register_structure_hook_factory(lambda target: _kind(target) in UNIONS, _union_hook)
    made.register_structure_hook_func(lambda target: _kind(target) is Literal, literal)
    return made


def _kind(target: Any) -> Any:
    return typing.get_origin(target) or target


# -- Single values -------------------------------------------------------------


def _is_leaf(target: Any) -> bool:
    kind = _kind(target)
    if kind is typing.Annotated or typing.is_typeddict(kind):
        return False
    return kind is None or isinstance(kind, type)


def _structure_leaf(value: Any, target: Any, *, manner: Manner) -> Any:
    kind = _kind(target)
    if manner == "wire" and kind is int and type(value) is float and value.is_integer():
        return int(value)
    if _is_instance(value, kind):
        return value
    if manner == "text" and isinstance(value, str):
        return _structure_name(value, target)
    if kind is float and _is_instance(value, int):
        try:
            return float(value)
        except OverflowError:
            raise Mismatch(value, "a number that a float can hold") from None
    raise Mismatch(value, describe(target))


def _structure_name(value: str, target: Any) -> Any:
    """
    Return the enum member, or the path, that *value* names.
    """
    kind = _kind(target)
    if issubclass(kind, enum.Enum):
        if value in kind.__members__:
            return kind[value]
        raise Mismatch(value, alternatives([repr(name) for name in kind.__members__]))
    if kind is os.PathLike or issubclass(kind, os.PathLike):
        return Path(value) if kind is os.PathLike else kind(value)
    raise Mismatch(value, describe(target))


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


def _structure_literal(value: Any, target: Any, *, manner: Manner) -> Any:
    for one in typing.get_args(target):
        is_number = manner == "wire" and type(one) is int and type(value) is float
        if (type(one) is type(value) or is_number) and one == value:
            return one
        if manner == "text" and isinstance(one, enum.Enum) and one.name == value:
            return one
    raise Mismatch(value, describe(target))


# -- Values made of values -----------------------------------------------------


def _within(step: str, index: int, hook: Hook, value: Any, target: Any) -> Any:
    try:
        return hook(value, target)
    except Mismatch as mismatch:
        raise mismatch.inside(step, index) from None


def _sequence_hook(target: Any, made: cattrs.Converter) -> Hook:
    kind, arguments = _kind(target), typing.get_args(target)
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
    build = SETS[_kind(target)]
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
        raise _nearest(mismatches)

    return structure_union


def _nearest(mismatches: Sequence[Mismatch]) -> Mismatch:
    """
    Return what to say where no arm of a union fits: what the nearest arm says.
    """
    furthest = max(mismatch.progress for mismatch in mismatches)
    nearest = [mismatch for mismatch in mismatches if mismatch.progress == furthest]
    expected = alternatives([mismatch.expected for mismatch in nearest])
    return attrs.evolve(nearest[0], expected=expected)


# -- Classes with fields ---------------------------------------------------------


def _is_record(target: Any) -> bool:
    kind = _kind(target)
    return isinstance(kind, type) and (attrs.has(kind) or hasattr(kind, "__dataclass_fields__"))


def _record_hook(target: Any, made: cattrs.Converter) -> Hook:
    fill = make_dict_structure_fn(
        target,
        made,
        _cattrs_use_alias=True,
        _cattrs_forbid_extra_keys=made.forbid_extra_keys,
        _cattrs_detailed_validation=True,
    )

    def structure_record(value: Any, _: Any) -> Any:
        if isinstance(value, _kind(target)):
            return value
        if not isinstance(value, collections.abc.Mapping):
            raise Mismatch(value, describe(target))
        try:
            return fill(value, target)
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
        return Mismatch(value, f"{words}, which has no {extra}")
    if isinstance(error, KeyError) and field is not None:
        return Mismatch(value, f"{words} with {field!r}")
    return Mismatch(value, f"{words} ({error})")
