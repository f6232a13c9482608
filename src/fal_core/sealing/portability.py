"""
The portable form of a function: its source, for Pythons of another version.

It exists where the source, compiled again by this Python, equals the code of the
function apart from line numbers. The captures travel as values.
"""

from __future__ import annotations

import dataclasses
import enum
import types
from typing import Any

from fal_core.sealing.function_source import NotPortable, locate
from fal_core.sealing.imports import is_standard_path
from fal_core.sealing.models import is_model, reduce_model
from fal_core_worker.annotations import readable
from fal_core_worker.opening import classes, portable
from fal_core_worker.opening.function_parts import fill_function
from fal_core_worker.opening.pickling import Pickler

#: Attributes that Python itself adds to a class, different in each minor version.
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
    """Pickles functions and classes as source."""

    def reduce_function(self, function: types.FunctionType) -> Any:
        unit, place = locate(function)
        _, arguments, state, *_ = self._dynamic_function_reduce(readable(function))
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
        return reduce_model(cls)
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
    # A method that the user wrote under such a name has its source in the user's file.
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
    if not isinstance(content.get("__doc__"), str):
        # Python 3.15 makes it of the fields when it is read.
        content.pop("__doc__", None)
    annotations = content.get("__annotations__", {})
    content["__annotations__"] = {
        name: value for name, value in annotations.items() if value is not dataclasses.KW_ONLY
    }
    matches = content.pop("__match_args__", None) is not None
    own = {}
    for name in content["__annotations__"]:
        field = cls.__dataclass_fields__.get(name)
        # Only private parts, which have no types, tell ClassVar and InitVar from a field.
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
