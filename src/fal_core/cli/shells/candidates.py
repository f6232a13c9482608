"""
Candidates: hosts, and functions of files, that a word of the command line may become.

Nothing here imports the files of users: they are read, and never run.
"""

from __future__ import annotations

import ast
import glob
from collections.abc import Iterator
from contextlib import suppress

import click
from click.shell_completion import CompletionItem

#: What an isolated function is decorated with, and what an application is derived from.
_DECORATORS = frozenset({"function", "isolated"})
_APPLICATION = "App"


def complete_host(
    _: click.Context, __: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the installed hosts whose names begin with *incomplete*."""
    from fal_core.plugins.installed import load_plugins

    names = sorted(load_plugins().hosts)
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def complete_host_or_all(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return hosts, and ``all``."""
    found = complete_host(context, parameter, incomplete)
    return [*found, CompletionItem("all")] if "all".startswith(incomplete) else found


def complete_target(
    _: click.Context, __: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """
    Return the functions and applications of the file that *incomplete* names, as
    ``file.py::NAME``, or let the shell complete files.
    """
    place, separator, _beginning = incomplete.partition("::")
    if not separator:
        # The beginning of a name of one file alone, or of a separator.
        place = incomplete.rstrip(":")
        files = glob.glob(f"{glob.escape(place)}*")
        if len(files) != 1 or not files[0].endswith(".py"):
            return [CompletionItem(incomplete, type="file")]
        place = files[0]
    targets = (f"{place}::{name}" for name in find_names(place))
    return [CompletionItem(each) for each in targets if each.startswith(incomplete)]


def find_names(place: str) -> list[str]:
    """
    Return the isolated functions and applications that the file *place* declares, as far as
    its text shows them. Empty if it cannot be read.
    """
    with suppress(OSError, SyntaxError, ValueError), open(place, encoding="utf-8") as file:
        return list(_declared_in(ast.parse(file.read())))
    return []


def _declared_in(module: ast.Module) -> Iterator[str]:
    for statement in module.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            names = map(_last_name, statement.decorator_list)
            if not _DECORATORS.isdisjoint(names):
                yield statement.name
        elif isinstance(statement, ast.ClassDef):
            names = map(_last_name, statement.bases)
            if any(name.endswith(_APPLICATION) for name in names):
                yield statement.name


def _last_name(node: ast.expr) -> str:
    """Return the last name of an expression, as ``function`` of ``fal_core.function(…)``."""
    if isinstance(node, ast.Call):
        node = node.func
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
