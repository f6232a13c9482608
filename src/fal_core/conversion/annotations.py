"""Annotations: the types that options and parameters declare, and words for them."""

from __future__ import annotations

import collections.abc
import functools
import os
import types
import typing
from collections.abc import Mapping
from typing import Any

import attrs

UNIONS = (typing.Union, types.UnionType)

#: Types whose values are taken as they are.
PRIMITIVES = (str, bytes, bool, int, float)

SEQUENCES: Mapping[Any, type] = {
    list: list,
    tuple: tuple,
    collections.abc.Sequence: tuple,
    collections.abc.MutableSequence: list,
    collections.abc.Iterable: tuple,
    collections.abc.Collection: tuple,
}
SETS: Mapping[Any, type] = {
    set: set,
    frozenset: frozenset,
    collections.abc.Set: frozenset,
    collections.abc.MutableSet: set,
}
MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
CONTAINERS = (*SEQUENCES, *SETS, *MAPPINGS)

_WORDS = {
    str: ("a string", "strings"),
    bytes: ("bytes", "bytes"),
    bool: ("True or False", "booleans"),
    int: ("an integer", "integers"),
    float: ("a number", "numbers"),
    os.PathLike: ("a path", "paths"),
    collections.abc.Callable: ("a function", "functions"),
    type: ("a class", "classes"),
    type(None): ("None", "None"),
    None: ("None", "None"),
    Any: ("anything", "anything"),
}


def option_types(cls: type) -> Mapping[str, Any]:
    """
    Return the options that the attrs class *cls* declares, with their types.

    Raises:
        NameError: An annotation names something that its module does not have.
    """
    return _option_types(cls)


def option_names(cls: type) -> tuple[str, ...]:
    """Return the names of the options that the attrs class *cls* declares."""
    return _option_names(cls)


@functools.cache
def _option_types(cls: type) -> Mapping[str, Any]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return {
        str(attribute.alias): hints.get(attribute.name, Any)
        for attribute in attrs.fields(cls)
        if attribute.init
    }


@functools.cache
def _option_names(cls: type) -> tuple[str, ...]:
    return tuple(str(attribute.alias) for attribute in attrs.fields(cls) if attribute.init)


def plain(annotation: Any) -> Any:
    """Return *annotation* without ``Annotated`` and ``NewType`` around it."""
    while True:
        if typing.get_origin(annotation) is typing.Annotated:
            annotation = annotation.__origin__
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        else:
            return annotation


def kind_of_type(annotation: Any) -> Any:
    """Return *annotation* without its parameters, as in ``list`` for ``list[str]``."""
    return typing.get_origin(annotation) or annotation


def has_fields(annotation: Any) -> bool:
    """Tell whether *annotation* is an attrs class, a dataclass or a typed dictionary."""
    kind = kind_of_type(annotation)
    return isinstance(kind, type) and (
        attrs.has(kind) or hasattr(kind, "__dataclass_fields__") or typing.is_typeddict(kind)
    )


def describe(annotation: Any) -> str:
    """Return in words what a value of *annotation* is, as in ``a list of strings``."""
    annotation = plain(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in UNIONS:
        # Python gives the arms in the order in which such a union was first written.
        arms = sorted(arguments, key=lambda arm: arm is type(None))
        return alternatives([word for arm in arms for word in _arm_words(arm)])
    if origin is typing.Literal:
        return alternatives([repr(value) for value in arguments])
    kind = origin or annotation
    if kind in SEQUENCES or kind in SETS:
        return f"{_container(kind)}{_contents(arguments)}"
    if kind in MAPPINGS:
        return "a mapping" + (f" to {_plural(arguments[1])}" if arguments[1:] else "")
    if kind in _WORDS:
        return _WORDS[kind][0]
    name = str(getattr(kind, "__name__", None) or kind)
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"


def alternatives(words: list[str]) -> str:
    """Return *words* as one enumeration, each once."""
    *most, last = dict.fromkeys(words)
    return f"{', '.join(most)} or {last}" if most else last


def _arm_words(arm: Any) -> list[str]:
    """Return the words for an arm of a union; those of a literal join the union's own."""
    arm = plain(arm)
    if arm is bool:
        return ["True", "False"]
    if typing.get_origin(arm) is typing.Literal:
        return [repr(value) for value in typing.get_args(arm)]
    return [describe(arm)]


def _container(kind: Any) -> str:
    return "a set" if kind in SETS else "a list"


def _contents(arguments: tuple[Any, ...]) -> str:
    items = [argument for argument in arguments if argument is not Ellipsis]
    if not items or items == [Any]:
        return ""
    if len(arguments) == len(items) > 1:
        return " of " + " and ".join(describe(item) for item in items)
    return f" of {_plural(items[0])}"


def _plural(annotation: Any) -> str:
    annotation = plain(annotation)
    origin = typing.get_origin(annotation)
    kind = origin or annotation
    if origin in UNIONS:
        return alternatives([_plural(arm) for arm in typing.get_args(annotation)])
    if origin is not typing.Literal and kind in _WORDS:
        return _WORDS[kind][1]
    words = describe(annotation)
    for singular, plural in (("a list", "lists"), ("a set", "sets"), ("a mapping", "mappings")):
        if words.startswith(singular):
            return plural + words[len(singular) :]
    return f"values that are {words}"
