"""Functions and classes that travel as source, for a Python of another minor."""

from __future__ import annotations
import __future__

import ast
import dataclasses
import functools
import types
import typing
from collections import namedtuple
from collections.abc import Iterator
from typing import Any

from cloudpickle import cloudpickle

from fal_core_worker.annotations import annotations_of
from fal_core_worker.opening.classes import fill_class, identity

#: A top-level statement: its text, the number of its first line, its file, and the names
#: of the ``__future__`` features that are active in it.
Unit = tuple[str, int, str, tuple[str, ...]]

#: A code object in a unit: its name, first line, parameters and free variables, and how
#: many code objects alike come before it.
Position = tuple[str, int, tuple[str, ...], tuple[str, ...], int]

_ALLOW_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


@functools.lru_cache(maxsize=256)
def compile_unit(unit: Unit) -> types.CodeType:
    """Compile a unit, with line numbers as in its file."""
    text, first_line, filename, features = unit
    flags = _ALLOW_AWAIT
    for name in features:
        flags |= getattr(__future__, name).compiler_flag
    tree = compile(text, filename, "exec", flags | ast.PyCF_ONLY_AST, dont_inherit=True)
    ast.increment_lineno(tree, first_line - 1)
    code: types.CodeType = compile(tree, filename, "exec", flags, dont_inherit=True)
    return code


def walk_codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """Yield the code objects inside *code*, outer ones first."""
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            yield from walk_codes(constant)


def describe_code(code: types.CodeType) -> tuple[Any, ...]:
    """Return what distinguishes *code* from others of its unit, in any Python."""
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & 0x04) + bool(code.co_flags & 0x08)
    return code.co_name, code.co_firstlineno, code.co_varnames[:count], code.co_freevars


def codes_like(unit: Unit, description: tuple[Any, ...]) -> list[types.CodeType]:
    """Return the code objects of *unit* that have this *description*."""
    codes = walk_codes(compile_unit(unit))
    return [code for code in codes if describe_code(code) == description]


def make_function(unit: Unit, place: Position, space: dict[str, Any]) -> types.FunctionType:
    """Make a function from source. Its defaults and variables are filled later."""
    *description, index = place
    found = [
        code
        for code in walk_codes(compile_unit(unit))
        if list(describe_code(code)) == description
    ]
    code = found[index]
    closure = tuple(types.CellType() for _ in code.co_freevars)
    function: types.FunctionType = cloudpickle._make_function(
        code, space, code.co_name, None, closure or None
    )
    return function


def make_named_tuple(
    name: str,
    fields: tuple[str, ...],
    defaults: tuple[Any, ...],
    module: str,
    qualname: str,
    tracker: str,
    extra: None,
) -> type:
    """Make the class of a named tuple."""
    # Type checkers want the fields written out.
    made: Any = namedtuple(name, fields, defaults=defaults, module=module)  # type: ignore[misc]
    made.__qualname__ = qualname
    tracked: type = cloudpickle._lookup_class_or_track(tracker, made)
    return tracked


def fill_dataclass(cls: Any, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Fill a dataclass, and have its methods generated here."""
    content, slots = state
    own = slots.pop("fields")
    parameters = slots.pop("parameters")
    if not fill_class(cls, (content, slots)):
        return
    written = annotations_of(cls)
    descriptors = {
        name: value
        for name, value in vars(cls).items()
        if isinstance(value, types.MemberDescriptorType)
    }
    # ``dataclass`` looks textual annotations up in the module of the class, which may not
    # exist here. So it is given annotations that need no lookup.
    meant: dict[str, Any] = {}
    for name, (kind, arguments) in own.items():
        meant[name] = dataclasses.InitVar[object] if kind == "_FIELD_INITVAR" else object
        setattr(cls, name, dataclasses.field(**arguments))
    cls.__annotations__ = meant
    dataclasses.dataclass(**parameters)(cls)
    cls.__annotations__ = written
    for name, descriptor in descriptors.items():
        setattr(cls, name, descriptor)
    for name in own:
        cls.__dataclass_fields__[name].type = written[name]
    initial = vars(cls).get("__init__")
    if found := annotations_of(initial):
        initial.__annotations__ = {**found, **{name: written[name] for name in own}}


def fill_protocol(cls: Any, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Fill a protocol, and have its members found again."""
    runtime = state[1].pop("runtime")
    if not fill_class(cls, state):
        return
    if "__protocol_attrs__" in vars(cls):
        type(typing.Protocol).__init__(cls, "", (), {})  # type: ignore[misc]
    if runtime:
        typing.runtime_checkable(cls)


# The namespaces of models that are not filled yet, by identity.
_spaces: dict[str, dict[str, Any]] = {}


def make_by_statement(
    unit: Unit, name: str, module: str, used: dict[str, Any], tracker: str, extra: None
) -> type:
    """Make a pydantic model by executing the statement that defines it."""
    space: dict[str, Any] = {"__name__": module, "__builtins__": __builtins__, **used}
    exec(compile_unit(unit), space)
    made: Any = space[name]
    _spaces[tracker] = space
    # The module in which it would look annotations up may not exist here.
    made.model_rebuild(raise_errors=False, _types_namespace=dict(space))
    tracked: type = cloudpickle._lookup_class_or_track(tracker, made)
    return tracked


def fill_model(cls: type, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Give the methods of a model the names that they refer to."""
    later = state[1].pop("space")
    if fill_class(cls, state):
        _spaces.pop(identity(cls)).update(later)
