"""Signatures: what Python raises where arguments do not fit a function."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from fal_core.declaring.declaration import Declaration, Parameters


def refuse_arguments(
    declaration: Declaration, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> None:
    """
    Raise what Python raises, as the declared function does not take these arguments.

    Raises:
        TypeError: Always.
    """
    func: Any = declaration.raw_func
    given = (None,) if declaration.has_setup else ()
    _twin(func)(*given, *args, **kwargs)


def _twin(func: Any) -> Any:
    """Return a function that takes what *func* does, has its name, and does nothing."""
    code, defaults = func.__code__, func.__defaults__ or ()
    parameters = Parameters.of(code)
    by_position, by_name = parameters.by_position, parameters.by_name_alone
    first = len(by_position) - len(defaults)
    parts = [f"{name}=None" if at >= first else name for at, name in enumerate(by_position)]
    if code.co_posonlyargcount:
        parts.insert(code.co_posonlyargcount, "/")
    rest = iter(code.co_varnames[len(by_position) + len(by_name) :])
    if code.co_flags & inspect.CO_VARARGS:
        parts.append(f"*{next(rest)}")
    elif by_name:
        parts.append("*")
    known = func.__kwdefaults__ or {}
    parts += [f"{name}=None" if name in known else name for name in by_name]
    if code.co_flags & inspect.CO_VARKEYWORDS:
        parts.append(f"**{next(rest)}")
    made: dict[str, Any] = {}
    exec(f"def twin({', '.join(parts)}): pass", {}, made)
    twin = made["twin"]
    twin.__name__, twin.__qualname__ = func.__name__, func.__qualname__
    return twin
