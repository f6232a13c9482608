"""Dependencies: the packages that a function needs from its environment."""

from __future__ import annotations

import functools
import os
import types
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from fal_core.options import canonical_name, requirement_name
from fal_core.sealing.imports import (
    MAIN,
    find_module,
    is_installed,
    is_standard,
    leading_imports,
    referred_module,
    unconditional_imports,
)
from fal_core_worker.annotations import annotations_of

if TYPE_CHECKING:
    from fal_core_worker.serving.services import Server

#: The modules that a function uses, and its names for each.
Uses = dict[str, list[str]]


def find_missing_dependencies(
    func: Callable[..., Any], env: dict[str, Any]
) -> Iterator[tuple[str, list[str]]]:
    """
    Yield each package that *func* uses and the requirements of *env* do not name.

    Each comes with the function's names for it; one that a local module imports comes with
    the name of that module. A package that is only installed as a dependency of another one
    is yielded too. Nothing is yielded for kinds other than ``virtualenv``.

    Arguments:
        env: The options of the environment, ``kind`` and ``requirements`` among them.
    """
    if env.get("kind", "virtualenv") != "virtualenv":
        return
    asked = {requirement_name(each) for each in all_requirements(env)}
    server = as_server(func)
    if server is not None:
        # A call adds what serving needs to the environment.
        asked.update(requirement_name(each) for each in server.requirements)
    missing: Uses = {}
    local: dict[str, str] = {}
    uses = used_modules(func, local)
    _follow(local, uses)
    for module, names in uses.items():
        packages = _packages(module)
        if asked.isdisjoint(packages):
            missing.setdefault(packages[0], []).extend(names)
    yield from missing.items()


def as_server(func: Callable[..., Any]) -> Server | None:
    """Return *func* if it is a server of a function, else None."""
    if isinstance(func, types.FunctionType):
        return None
    # Imported for what may be one, as most programs start without a service.
    from fal_core_worker.serving.services import Server

    return func if isinstance(func, Server) else None


def all_requirements(env: dict[str, Any]) -> list[str]:
    """
    Return the requirements in the options *env* of an environment, without layers, and with
    those that files list in place of the files.
    """
    from fal_core.declaring.requirement_files import listed_requirements

    found: list[str] = []
    if project := env.get("project"):
        files = (os.path.join(project, name) for name in ("uv.lock", "pyproject.toml"))
        found += [
            each for file in files if os.path.isfile(file) for each in listed_requirements(file)
        ]
    for entry in env.get("requirements") or ():
        for requirement in (entry,) if isinstance(entry, str) else entry:
            found += listed_requirements(requirement)
    return found


def used_modules(func: Callable[..., Any], local: dict[str, str] | None = None) -> Uses:
    """
    Return the installed modules that *func*, and the objects it refers to, use.

    Python's own modules, local modules, and the module of *func*, which travels by
    value, are left out.

    Arguments:
        local: Is given the local modules, and the name of *func* for each.
    """
    found = {} if local is None else local
    uses: Uses = {}
    travelling: tuple[str, ...] = ()
    server = as_server(func)
    if server is not None:
        # Only the served function counts; the packages of the server travel with it.
        travelling, func = tuple(server.packages), server.func
    own = getattr(func, "__module__", None)
    waiting: list[tuple[str, Any]] = [("", func)]
    seen: set[int] = set()
    while waiting:
        name, value = waiting.pop()
        referred = referred_module(value)
        if referred is not None:
            _use(referred, name, uses, found)
            continue
        module = _module_of(value)
        if module is not None and module.partition(".")[0] in travelling:
            continue
        if name and module is not None and module != own and is_installed(module):
            _note(uses, module, name)
            continue
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, types.ModuleType) and value.__name__ != own:
            found.setdefault(value.__name__, name)
        waiting += _referred(value)
        if not name and hasattr(value, "__code__"):
            for imported, alias in leading_imports(value.__code__):
                _use(imported, alias, uses, found)
    return uses


def _use(module: str, name: str, uses: Uses, local: dict[str, str]) -> None:
    """Add an imported *module* to the *uses* of packages, or to the *local* modules."""
    if find_module(module) is None or is_installed(module):
        _note(uses, module, name)
    else:
        local.setdefault(module, name)


def _follow(local: dict[str, str], uses: Uses) -> None:
    """Add to *uses* what *local* modules, and those that they import, import from packages."""
    waiting = list(local)
    seen: set[str] = set()
    while waiting:
        module = waiting.pop()
        path = find_module(module)
        if module in seen or path is None or not path.endswith(".py"):
            continue
        seen.add(module)
        waiting += [module.rpartition(".")[0]] if "." in module else []
        is_package = os.path.basename(path) == "__init__.py"
        package = module if is_package else module.rpartition(".")[0]
        for imported, members in unconditional_imports(path, package):
            if is_installed(imported) or find_module(imported.partition(".")[0]) is None:
                _note(uses, imported, module)
            else:
                waiting += [imported, *members]


def _note(uses: Uses, module: str, name: str) -> None:
    top = module.partition(".")[0]
    # A worker has a ``__main__`` as well: what has arrived of the caller's.
    if is_standard(top) or top in MAIN:
        return
    # Private names come from generated code and mean nothing to the user.
    shown = top if name.startswith("_") else name
    if shown not in uses.setdefault(top, []):
        uses[top].append(shown)


def _module_of(value: Any) -> str | None:
    if isinstance(value, types.ModuleType):
        return value.__name__
    if isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType)):
        return value.__module__
    if isinstance(value, (types.MethodType, functools.partial)):
        return None
    return type(value).__module__


def _referred(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, types.FunctionType):
        return _referred_by_function(value)
    if isinstance(value, types.MethodType):
        return [("", value.__func__), ("self", value.__self__)]
    if isinstance(value, functools.partial):
        return [("", value.func), *(("argument", each) for each in value.args)]
    if isinstance(value, type):
        bases = [(base.__name__, base) for base in value.__bases__]
        return bases + [(name, each) for name, each in vars(value).items()]
    if isinstance(value, (staticmethod, classmethod)):
        return [("", value.__func__)]
    if isinstance(value, property):
        return [("", each) for each in (value.fget, value.fset, value.fdel) if each]
    return [(type(value).__name__, type(value))]


def _referred_by_function(function: types.FunctionType) -> list[tuple[str, Any]]:
    from cloudpickle import cloudpickle

    space = function.__globals__
    names = cloudpickle._extract_code_globals(function.__code__)
    found = [(name, space[name]) for name in names if name in space]
    for name, cell in zip(
        function.__code__.co_freevars, function.__closure__ or (), strict=True
    ):
        try:
            found.append((name, cell.cell_contents))
        except ValueError:
            continue
    annotations = [each for each in annotations_of(function).values() if isinstance(each, type)]
    found += [(each.__name__, each) for each in annotations]
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    found += [(type(each).__name__, each) for each in defaults]
    return found


def _packages(module: str) -> list[str]:
    names = _distributions().get(module) or [module]
    return [canonical_name(name) for name in names]


@functools.lru_cache(maxsize=1)
def _distributions() -> dict[str, list[str]]:
    from importlib.metadata import packages_distributions

    return dict(packages_distributions())
