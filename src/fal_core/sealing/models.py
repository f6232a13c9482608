"""
Pydantic models as source: the class statement is run again in the worker.

The schema of a model belongs to one Python and one pydantic, so it is built anew. That is
safe where the statement only declares fields, validators and methods.
"""

from __future__ import annotations

import ast
import builtins
import linecache
import sys
import types
from collections.abc import Iterator
from typing import Any

from cloudpickle import cloudpickle

from fal_core.sealing.function_source import NotPortable, locate
from fal_core_worker.annotations import annotations_of
from fal_core_worker.opening import classes, portable
from fal_core_worker.opening.portable import Unit

_DECLARING = (ast.AnnAssign, ast.Assign, ast.FunctionDef, ast.AsyncFunctionDef, ast.Pass)


def is_model(cls: type) -> bool:
    """Tell whether *cls* is a pydantic model."""
    return "__pydantic_core_schema__" in vars(cls) or "__pydantic_decorators__" in vars(cls)


def reduce_model(cls: type) -> tuple[Any, ...]:
    """
    Reduce the model *cls* to its class statement and the objects that the statement uses.

    Raises:
        NotPortable: The statement is not found, or does more than declare.
    """
    functions = list(_functions(cls))
    for function in functions:
        locate(function)
    space = vars(sys.modules[cls.__module__]) if cls.__module__ in sys.modules else {}
    if functions:
        space = functions[0].__globals__
    unit, statement = _find_statement(cls, space, functions)
    used = {
        name: space[name]
        for name in _names(statement)
        if name in space and name != cls.__name__ and not hasattr(builtins, name)
    }
    later = {
        name: function.__globals__[name]
        for function in functions
        for name in cloudpickle._extract_code_globals(function.__code__)
        if name in function.__globals__ and name not in used
    }
    arguments = (unit, cls.__name__, cls.__module__, used, classes.identity(cls), None)
    made = (portable.make_by_statement, arguments)
    return classes.make_class, made, ({}, {"space": later}), None, None, portable.fill_model


def _functions(cls: type) -> Iterator[types.FunctionType]:
    for value in vars(cls).values():
        value = getattr(value, "wrapped", value)
        value = getattr(value, "fget", None) or getattr(value, "__func__", value)
        if isinstance(value, types.FunctionType) and value.__module__ == cls.__module__:
            yield value


def _find_statement(
    cls: type, space: dict[str, Any], functions: list[types.FunctionType]
) -> tuple[Unit, ast.ClassDef]:
    filename = functions[0].__code__.co_filename if functions else space.get("__file__", "")
    lines = linecache.getlines(filename, space)
    try:
        tree = ast.parse("".join(lines), filename)
    except SyntaxError:
        tree = ast.Module([], [])
    found = [
        node
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == cls.__name__
    ]
    if len(found) != 1 or cls.__qualname__ != cls.__name__:
        raise NotPortable(
            f"Pydantic model {cls.__qualname__!r} is not defined once, at the top of a module."
        )
    node = found[0]
    _check(cls, node)
    features = [
        alias.name
        for each in tree.body
        if isinstance(each, ast.ImportFrom) and each.module == "__future__"
        for alias in each.names
    ]
    text = "".join(lines[node.lineno - 1 : node.end_lineno])
    return (text, node.lineno, filename, tuple(features)), node


def _check(cls: type, node: ast.ClassDef) -> None:
    declares = all(
        isinstance(each, _DECLARING)
        or (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))
        for each in node.body
    )
    named = [each.target for each in node.body if isinstance(each, ast.AnnAssign)]
    fields = {target.id for target in named if isinstance(target, ast.Name)}
    if not declares or node.decorator_list or fields != set(annotations_of(cls)):
        raise NotPortable(
            f"The class statement of pydantic model {cls.__qualname__!r} does more than "
            "declare, or is not the one that the class was made from."
        )


def _names(statement: ast.ClassDef) -> Iterator[str]:
    """Yield the names that *statement* uses, except those inside its functions."""
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id
        if isinstance(node, ast.AnnAssign):
            waiting += _texts(node.annotation)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            waiting += [*node.decorator_list, node.args, *filter(None, [node.returns])]
        else:
            waiting += ast.iter_child_nodes(node)


def _texts(annotation: ast.expr) -> Iterator[ast.AST]:
    for node in ast.walk(annotation):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("Literal"):
            return
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            try:
                yield ast.parse(node.value, mode="eval")
            except SyntaxError:
                continue
