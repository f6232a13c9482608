"""The source of a function: found, and checked to be what the function was compiled from."""

from __future__ import annotations
import __future__

import ast
import functools
import linecache
import types
from typing import Any

from fal_core.sealing.imports import is_standard_path
from fal_core_worker.opening.portable import (
    Position,
    Unit,
    codes_like,
    compile_unit,
    describe_code,
    walk_codes,
)


class NotPortable(Exception):
    """Something cannot be written as source; the text is a sentence that says why."""


def locate(function: types.FunctionType) -> tuple[Unit, Position]:
    """
    Return the statement that *function* comes from, and where in it the function is.

    Raises:
        NotPortable: There is no source, or it does not compile to the function's code.
    """
    code, name = function.__code__, function.__qualname__
    if is_standard_path(code.co_filename):
        raise NotPortable(f"{name!r} was made by a module of Python itself.")
    lines = linecache.getlines(code.co_filename, function.__globals__)
    if not lines:
        raise NotPortable(f"{name!r} has no source: it was defined in {code.co_filename!r}.")
    features = tuple(
        feature
        for feature in __future__.all_feature_names
        if code.co_flags & getattr(__future__, feature).compiler_flag
    )
    whole = ("".join(lines), 1, code.co_filename, features)
    try:
        found = _find_equal(whole, code)
        unit = _statement(whole, found.co_firstlineno)
    except (SyntaxError, ValueError, LookupError):
        raise NotPortable(
            f"The source of {name!r} is not what it was compiled from: it was changed or "
            "rewritten since."
        ) from None
    # All codes like it are in the statement, in the same order. Compiled alone they may
    # differ from those of the file: a call compiles otherwise where an import is seen.
    description = describe_code(found)
    same = codes_like(whole, description)
    return unit, (*description, next(i for i, each in enumerate(same) if each is found))


def _find_equal(unit: Unit, code: types.CodeType) -> types.CodeType:
    equal = [each for each in walk_codes(compile_unit(unit)) if equal_codes(each, code)]
    if not equal:
        raise LookupError(code.co_name)
    return min(equal, key=lambda each: abs(each.co_firstlineno - code.co_firstlineno))


@functools.lru_cache(maxsize=64)
def _statements(unit: Unit) -> tuple[tuple[int, int], ...]:
    tree = compile(unit[0], unit[2], "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    spans = []
    for node in tree.body:
        decorators = getattr(node, "decorator_list", [])
        first = min([node.lineno, *(each.lineno for each in decorators)])
        spans.append((first, node.end_lineno))
    return tuple(spans)


def _statement(whole: Unit, line: int) -> Unit:
    text, _, filename, features = whole
    spans = [span for span in _statements(whole) if span[0] <= line <= span[1]]
    first, last = min(span[0] for span in spans), max(span[1] for span in spans)
    lines = text.split("\n")
    return "\n".join(lines[first - 1 : last]) + "\n", first, filename, features


def equal_codes(one: types.CodeType, other: types.CodeType) -> bool:
    """Tell whether two codes are the same apart from line numbers."""
    names = (
        *("co_name", "co_argcount", "co_posonlyargcount", "co_kwonlyargcount", "co_flags"),
        *("co_code", "co_names", "co_varnames", "co_freevars", "co_cellvars"),
    )
    if any(getattr(one, name) != getattr(other, name) for name in names):
        return False
    return _equal_constants(one.co_consts, other.co_consts)


def _equal_constants(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, types.CodeType):
        return equal_codes(one, other)
    if isinstance(one, tuple):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(_equal_constants(*pair) for pair in pairs)
    # -0.0 and 0.0 are equal, and two different constants.
    return (bool(one == other) and repr(one) == repr(other)) or one is other
