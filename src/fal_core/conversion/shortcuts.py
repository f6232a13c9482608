"""
A first look at values: accepts what is plain and exactly right, and leaves the rest.

It agrees with the strict converter wherever it is sure. It exists because most
declarations need no more, and importing cattrs costs more than the rest of a start.
"""

from __future__ import annotations

import collections.abc
import os
import typing
from typing import Any

from fal_core.conversion.annotations import MAPPINGS, PRIMITIVES, SEQUENCES, UNIONS

#: The answer for what only the converter can judge.
UNSURE: Any = type("Unsure", (), {})()

#: The answer for what the converter is certain to refuse.
WRONG: Any = type("Wrong", (), {})()


def accept(value: Any, annotation: Any) -> Any:
    """
    Return *value* as *annotation* has it, or UNSURE, or WRONG.
    """
    if annotation is Any:
        return value
    origin = typing.get_origin(annotation)
    if origin is None:
        return _accept_primitive(value, annotation)
    if origin in UNIONS:
        return _accept_union(value, typing.get_args(annotation))
    if origin is typing.Literal:
        matches = (one for one in typing.get_args(annotation) if type(one) is type(value))
        return next((one for one in matches if one == value), WRONG)
    if origin in SEQUENCES:
        return _accept_sequence(value, SEQUENCES[origin], typing.get_args(annotation))
    if origin in MAPPINGS:
        return _accept_mapping(value, typing.get_args(annotation))
    if origin is collections.abc.Callable:
        return value if callable(value) else WRONG
    if origin is os.PathLike:
        return value if isinstance(value, os.PathLike) else WRONG
    return UNSURE


def _accept_primitive(value: Any, annotation: Any) -> Any:
    if annotation in PRIMITIVES:
        if type(value) is annotation:
            return value
        if annotation is float and type(value) is int:
            return float(value) if value.bit_length() <= 53 else UNSURE
        # A value of a subclass may be right; one of another class is not.
        is_exact = type(value) in PRIMITIVES
        return WRONG if is_exact or not isinstance(value, PRIMITIVES) else UNSURE
    if annotation is None or annotation is type(None):
        return None if value is None else WRONG
    return UNSURE


def _accept_union(value: Any, arms: tuple[Any, ...]) -> Any:
    if type(value) in PRIMITIVES and type(value) in arms:
        return value
    for arm in arms:
        result = accept(value, arm)
        # Behind an arm that cannot be judged here no other may be taken.
        if result is not WRONG:
            return result
    return WRONG


def _accept_sequence(value: Any, build: type, arguments: tuple[Any, ...]) -> Any:
    if not isinstance(value, list | tuple):
        return WRONG
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        arguments = arguments[:1]
    if len(arguments) != 1 or type(value) not in (list, tuple):
        return UNSURE
    return _complete([accept(item, arguments[0]) for item in value], build)


def _accept_mapping(value: Any, arguments: tuple[Any, ...]) -> Any:
    if type(value) is not dict:
        return UNSURE
    keys = _complete([accept(key, arguments[0]) for key in value], list)
    values = _complete([accept(item, arguments[1]) for item in value.values()], list)
    for part in (keys, values):
        if part is UNSURE or part is WRONG:
            return part
    return dict(zip(keys, values, strict=True))


def _complete(items: list[Any], build: type) -> Any:
    if any(item is UNSURE for item in items):
        return UNSURE
    if any(item is WRONG for item in items):
        return WRONG
    return build(items)
