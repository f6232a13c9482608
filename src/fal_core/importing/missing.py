"""Modules that are not here, and the functions that run where they are."""

from __future__ import annotations

import ast
import os
import re
import traceback
from collections.abc import Iterable, Iterator, Mapping
from types import FrameType
from typing import Any

from fal_core.declaring.requirement_files import inline_metadata
from fal_core.errors import OptionError
from fal_core.functions import IsolatedFunction
from fal_core.options import canonical_name, requirement_name
from fal_core.plugins.catalog import MODULES_OF_EXTRAS, offered_extras
from fal_core.sealing.dependencies import all_requirements
from fal_core.sealing.imports import find_module, is_installed, referred_module


def explain_use(module: str, space: Mapping[str, Any]) -> str:
    """
    Return why *module* cannot be used here, and where it can, as sentences.

    Arguments:
        space: The namespace in which it is imported, and the functions are declared.
    """
    told = f"{module} is not installed here"
    found = {
        value.declaration.name: value
        for value in list(space.values())
        if isinstance(value, IsolatedFunction) and _uses(value, module, space)
    }
    if found:
        shown = _join(found)
        function = next(iter(found.values()))
        kind = function.options.environment.get("kind", "virtualenv")
        where = f"on host {function.host.name!r} in kind {kind!r}"
        runs = f"run{'s' if len(found) == 1 else ''} {where}"
        told += f": it is for {shown}, which {runs}. Use it inside {_them(found)}."
    else:
        names = _names_in(str(space.get("__file__") or ""), module)
        inside = _join(names) if names else "a function that has it in requirements"
        told += f". Use it inside {inside}."
    return told


def explain_import(error: ModuleNotFoundError) -> str | None:
    """
    Return why a file of the user could not import a module, and how it can.

    None if it is of no plugin, and none of the functions has requirements that may bring it.
    """
    missing = (error.name or "").partition(".")[0]
    if not missing or find_module(missing) is not None:
        return None
    extra = MODULES_OF_EXTRAS.get(missing)
    if extra in offered_extras():
        return f"{missing} is not installed. `pip install 'fal-core[{extra}]'` installs it."
    frames = [
        (frame, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if not frame.f_code.co_filename.startswith("<") and not _is_ours(frame)
    ]
    if not frames or is_installed(str(frames[-1][0].f_globals.get("__name__"))):
        return None
    frame, line = frames[-1]
    place = f"{os.path.relpath(frame.f_code.co_filename)}:{line}: "
    space = frame.f_globals
    if any(
        str(referred_module(value)).partition(".")[0] == missing for value in space.values()
    ):
        # It is imported as it should be, and used too early.
        return place + explain_use(missing, space)
    files = dict.fromkeys(each.f_code.co_filename for each, _ in frames)
    declared: dict[str, list[str]] = {}
    for path in files:
        declared.update(_declared_in(path))
    names = [name for name, asked in declared.items() if _brings(asked, missing)]
    if names:
        told = f"{missing} is in requirements of {_join(names)}"
        return f"{place}{told}: import it in {_them(names)}, or under `with imports():`."
    scripts = [
        os.path.basename(path) for path in files if _brings(_texts_of_block(path), missing)
    ]
    if scripts:
        told = f"{missing} is in the dependencies of {scripts[0]}, which its functions have"
        return f"{place}{told}: import it in them, or under `with imports():`."
    absent = {name: path for path in files for name in _plugins_in(path)}
    if absent:
        name, path = next(iter(absent.items()))
        extra = MODULES_OF_EXTRAS[name]
        return (
            f"{place}There is no module {missing} here, and no {name}, which "
            f"{os.path.basename(path)} imports too. "
            f"`pip install 'fal-core[{extra}]'` installs it, with what it needs."
        )
    if not declared:
        return None
    told = f"There is no module {missing} here. If requirements of {_join(declared)} bring it"
    return f"{place}{told}, import it in {_them(declared)}, or under `with imports():`."


def _texts_of_block(path: str) -> list[str]:
    """Return the texts in the block ``# /// script`` of the file at *path*."""
    try:
        block = inline_metadata(path)
    except OptionError:
        return []
    return re.findall("[\"']([^\"']+)[\"']", block or "")


def _plugins_in(path: str) -> list[str]:
    """Return the modules of plugins that the file at *path* imports and that are not here."""
    found = [
        name.partition(".")[0]
        for node in ast.walk(_parse(path))
        for name in (
            [each.name for each in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom) and not node.level
            else []
        )
    ]
    extras = offered_extras()
    return [
        name
        for name in found
        if MODULES_OF_EXTRAS.get(name) in extras and find_module(name) is None
    ]


def _is_ours(frame: FrameType) -> bool:
    name = str(frame.f_globals.get("__name__"))
    return name.partition(".")[0] in ("fal_core", "fal_core_worker")


def _uses(function: IsolatedFunction[..., Any], module: str, space: Mapping[str, Any]) -> bool:
    """Tell whether *function* has *module* in its requirements, or a name for it in its code."""
    environment = function.options.environment
    if _brings(all_requirements({**environment}), module):
        return True
    code = getattr(function.raw_func, "__code__", None)
    return code is not None and any(
        str(referred_module(space.get(name))).partition(".")[0] == module.partition(".")[0]
        for name in code.co_names
    )


def _brings(requirements: Iterable[str], module: str) -> bool:
    wanted = canonical_name(module.partition(".")[0])
    return any(requirement_name(each) == wanted for each in requirements)


def _names_in(path: str, module: str) -> list[str]:
    return [name for name, asked in _declared_in(path).items() if _brings(asked, module)]


def _declared_in(path: str) -> dict[str, list[str]]:
    """
    Return the requirements of the functions and classes that the file at *path* declares, by
    their names, as far as they are written in it. It is not run.
    """
    tree = _parse(path)
    constants: dict[str, ast.expr] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            names = [each.id for each in statement.targets if isinstance(each, ast.Name)]
            constants.update(dict.fromkeys(names, statement.value))
    found: dict[str, list[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            for value in _requirements_of(node):
                found.setdefault(node.name, []).extend(_texts_in(value, constants))
    return found


def _parse(path: str) -> ast.Module:
    """Return the code of the file at *path*; none where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return ast.parse(file.read())
    except (OSError, SyntaxError, ValueError):
        return ast.Module(body=[], type_ignores=[])


def _requirements_of(
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef,
) -> Iterator[ast.expr]:
    keywords = [
        keyword
        for each in node.decorator_list
        if isinstance(each, ast.Call)
        for keyword in each.keywords
    ]
    if isinstance(node, ast.ClassDef):
        keywords += node.keywords
        for each in node.body:
            if isinstance(each, ast.Assign):
                targets = each.targets
            elif isinstance(each, ast.AnnAssign):
                targets = [each.target]
            else:
                continue
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            if "requirements" in names and each.value is not None:
                yield each.value
    yield from (keyword.value for keyword in keywords if keyword.arg == "requirements")


def _texts_in(value: ast.expr, constants: Mapping[str, ast.expr]) -> Iterator[str]:
    for node in ast.walk(value):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.Name) and node.id in constants:
            # A name in what it stands for may stand for this again.
            rest = {name: each for name, each in constants.items() if name != node.id}
            yield from _texts_in(constants[node.id], rest)


def _join(names: Iterable[str]) -> str:
    *others, last = [repr(name) for name in names]
    return f"{', '.join(others)} and {last}" if others else last


def _them(names: Iterable[str]) -> str:
    shown = list(names)
    return _join(shown) if len(shown) == 1 else "them"
