"""Texts: arguments of a command line, made into what an annotation declares."""

from __future__ import annotations

import inspect
import json
import os
import re
import typing
from typing import Any

from fal_core.conversion.annotations import UNIONS, describe, plain
from fal_core.conversion.mismatches import show
from fal_core.conversion.structuring import structure
from fal_core.errors import OptionTypeError

_INTEGER = re.compile(r"[+-]?[0-9]+")
_TRUTHS = {"true": True, "false": False}


def parse_text(text: str, annotation: Any, where: str) -> Any:
    """
    Return *text* as a value of *annotation*.

    Strings, numbers, ``true`` and ``false``, members of enums by name, paths and
    dates in ISO 8601 are written as they are; lists, mappings and classes with
    fields are JSON. Without an annotation *text* is JSON where it can be, and
    otherwise a string.

    Raises:
        OptionTypeError: It does not fit.
    """
    annotation = plain(annotation)
    if annotation in (Any, object, inspect.Parameter.empty):
        value = _parse_json(text)
        return text if value is _NOT_JSON else value
    origin = typing.get_origin(annotation)
    if origin in UNIONS:
        return _parse_union(text, annotation, where)
    if annotation is str:
        return text
    if annotation is None or annotation is type(None):
        value = None if text in ("null", "None", "none") else text
    elif annotation is bool:
        value = _TRUTHS.get(text.lower(), text)
    elif annotation in (int, float):
        value = _parse_number(text, annotation)
    elif origin is typing.Literal:
        value = _parse_literal(text, typing.get_args(annotation))
    elif _is_written_plainly(annotation):
        value = text
    else:
        value = _parse_json(text)
        value = text if value is _NOT_JSON else value
    return structure(value, annotation, where, manner="text")


def parse_json(value: Any, annotation: Any, where: str) -> Any:
    """
    Return *value*, which was read from JSON, as a value of *annotation*.

    Raises:
        OptionTypeError: It does not fit.
    """
    if annotation is inspect.Parameter.empty:
        return value
    return structure(value, annotation, where, manner="text")


_NOT_JSON: Any = object()


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _NOT_JSON


def _parse_number(text: str, annotation: type) -> Any:
    if _INTEGER.fullmatch(text):
        return int(text) if annotation is int else float(text)
    if annotation is float and "_" not in text:
        try:
            return float(text)
        except ValueError:
            pass
    return text


def _parse_literal(text: str, values: tuple[Any, ...]) -> Any:
    for value in values:
        try:
            if type(value) is not str and parse_text(text, type(value), "") == value:
                return value
        except OptionTypeError:
            continue
    return text


def _parse_union(text: str, annotation: Any, where: str) -> Any:
    # A string takes every text, so it comes last.
    arms = sorted(typing.get_args(annotation), key=lambda arm: plain(arm) is str)
    for arm in arms:
        try:
            return parse_text(text, arm, where)
        except OptionTypeError:
            continue
    value = _parse_json(text)
    if isinstance(value, dict | list):
        # The error then says where inside of it the mistake is.
        return structure(value, annotation, where, manner="text")
    raise OptionTypeError(where, show(text), describe(annotation))


def _is_written_plainly(annotation: Any) -> bool:
    import datetime
    import enum

    kind = typing.get_origin(annotation) or annotation
    plainly = (enum.Enum, os.PathLike, datetime.date, datetime.time)
    return isinstance(kind, type) and issubclass(kind, plainly)
