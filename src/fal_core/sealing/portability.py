"""
The portable form of a function: its source, where that is sound.

It is sound where the source, compiled again by this Python, equals the code of
the function apart from positions. What was captured travels as values.
"""

from __future__ import annotations
import __future__

import ast
import dataclasses
import enum
import functools
import linecache
import types
from typing import Any

from fal_core.sealing.imports import is_standard_path
from fal_core.sealing.models import is_model, reduce_model
from fal_core.sealing.refusals import NotPortable
from fal_core_worker.opening import classes, portable
from fal_core_worker.opening.function_parts import fill_function
from fal_core_worker.opening.pickling import Pickler
from fal_core_worker.opening.portable import (
    Place,
    Unit,
    codes_like,
    compile_unit,
    describe_code,
    walk_codes,
)

#: What Python adds to a class by itself, differently in each minor.
_OF_THIS_PYTHON = {
    *("__static_attributes__", "__firstlineno__", "__annotate_func__", "__annotations_cache__"),
    *("__type_params__", "__classdictcell__"),
}
_OF_DATACLASS = {
    *("__init__", "__repr__", "__eq__", "__lt__", "__le__", "__gt__", "__ge__", "__hash__"),
    *("__setattr__", "__delattr__", "__replace__"),
    *("__dataclass_fields__", "__dataclass_params__"),
}
_OF_NAMED_TUPLE = {
    *("__new__", "_make", "_replace", "__replace__", "__repr__", "_asdict", "__getnewargs__"),
    *("__slots__", "_fields", "_field_defaults", "__match_args__"),
}
_OF_PROTOCOL = {
    *("__init__", "__subclasshook__", "_is_protocol", "_is_runtime_protocol"),
    *(
        "__protocol_attrs__",
        "__non_callable_proto_members__",
        "__callable_proto_members_only__",
    ),
}

State = tuple[dict[str, Any], dict[str, Any]]


class PortablePickler(Pickler):
    """
    Pickles functions and classes as source.
    """

    def reduce_function(self, function: types.FunctionType) -> Any:
        unit, place = locate(function)
        _, arguments, state, *_ = self._dynamic_function_reduce(function)
        made = (unit, place, arguments[1])
        return portable.make_function, made, state, None, None, fill_function

    def reduce_code(self, code: types.CodeType) -> Any:
        raise NotPortable(f"It holds the bare code {code.co_name!r}.")

    special = {**Pickler.special, types.CodeType: reduce_code}

    def reduce_class(self, cls: type) -> Any:
        reduced = super().reduce_class(cls)
        if not self.classes or self.classes[-1] is not cls or reduced is NotImplemented:
            return reduced
        self.contains_code = False
        return _reduce_class(cls, reduced)


def _reduce_class(cls: type, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    make, arguments, (content, slots), *_ = reduced
    content = {name: value for name, value in content.items() if name not in _OF_THIS_PYTHON}
    if is_model(cls):
        return reduce_model(cls, locate)
    fill: Any = classes.fill_class
    if issubclass(cls, enum.Enum):
        content = {name: value for name, value in content.items() if _is_written(name, value)}
    elif "__dataclass_fields__" in vars(cls):
        content, slots = _dataclass_state(cls, content)
        fill = portable.fill_dataclass
    elif issubclass(cls, tuple) and "_fields" in vars(cls):
        arguments, content = _named_tuple_parts(cls, content)
    elif vars(cls).get("_is_protocol"):
        slots = {"runtime": vars(cls).get("_is_runtime_protocol", False)}
        content = _without(content, _OF_PROTOCOL)
        fill = portable.fill_protocol
    return make, arguments, (content, slots), None, None, fill


def _is_written(name: str, value: Any) -> bool:
    code = getattr(_plain_function(value), "__code__", None)
    if code is not None:
        return not is_standard_path(code.co_filename)
    return not name.startswith("_") or name == "__doc__"


def _plain_function(value: Any) -> Any:
    if isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    if isinstance(value, property):
        value = value.fget
    while hasattr(value, "__wrapped__"):
        value = value.__wrapped__
    return value


def _without(content: dict[str, Any], names: set[str]) -> dict[str, Any]:
    # What the user wrote under such a name has a file of the user's.
    return {
        name: value
        for name, value in content.items()
        if name not in names or _has_source(_plain_function(value))
    }


def _has_source(function: Any) -> bool:
    code = getattr(function, "__code__", None)
    if code is None or is_standard_path(code.co_filename):
        return False
    return code.co_filename != "<string>" and not code.co_filename.startswith("<namedtuple")


def _dataclass_state(cls: Any, content: dict[str, Any]) -> State:
    content = _without(
        content, _OF_DATACLASS | {"__dataclass_fields__", "__dataclass_params__"}
    )
    annotations = content.get("__annotations__", {})
    content["__annotations__"] = {
        name: value for name, value in annotations.items() if value is not dataclasses.KW_ONLY
    }
    matches = content.pop("__match_args__", None) is not None
    own = {}
    for name in content["__annotations__"]:
        field = cls.__dataclass_fields__.get(name)
        # What is private has no types.
        if field is None or field._field_type is dataclasses._FIELD_CLASSVAR:  # type: ignore[attr-defined]
            continue
        content.pop(name, None)
        names = ("default", "default_factory", "init", "repr", "hash", "compare", "kw_only")
        values = {each: getattr(field, each) for each in names}
        values["metadata"] = dict(field.metadata)
        values = {k: v for k, v in values.items() if v is not dataclasses.MISSING}
        own[name] = (field._field_type.name, values)
    given = cls.__dataclass_params__
    chosen = ("init", "repr", "eq", "order", "unsafe_hash", "frozen")
    parameters = {name: getattr(given, name) for name in chosen}
    return content, {"fields": own, "parameters": {**parameters, "match_args": matches}}


def _named_tuple_parts(cls: Any, content: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    content = _without(content, _OF_NAMED_TUPLE | set(cls._fields))
    content.pop("__doc__", None)
    defaults = tuple(cls._field_defaults.values())
    arguments = (
        *(cls.__name__, cls._fields, defaults, cls.__module__, cls.__qualname__),
        *(classes.identity(cls), None),
    )
    return (portable.make_named_tuple, arguments), content


# -- Source ------------------------------------------------------------------------


def locate(function: types.FunctionType) -> tuple[Unit, Place]:
    """
    Return the source of *function*, and where in it the function is.

    Raises:
        NotPortable: There is no source, or it is not that of the function.
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
    # They are all in the unit, in the same order; there alone they may differ from
    # those of the file, since a call compiles otherwise where an import is seen.
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
    """
    Tell whether two codes are the same, positions apart.
    """
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
    # Of equal floats, -0.0 and 0.0 are two.
    return (bool(one == other) and repr(one) == repr(other)) or one is other
