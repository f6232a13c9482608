"""Imports: what modules import, and where modules are, without running any of them."""

from __future__ import annotations

import functools
import os
import sys
import types
from collections.abc import Sequence
from types import CodeType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

#: Names of the module that a script is.
MAIN = ("__main__", "__mp_main__")

#: Never local, even in a checkout: the worker brings its own copies, and laws stay here.
_OURS = ("fal_core", "fal_core_worker", "fal_testing", "cloudpickle")


#: What a name is bound to that is imported at its first use, by ours and by Python 3.15.
_REFERENCES = "fal_core_worker.importing.references"
_LAZY_IMPORT = getattr(types, "LazyImportType", None)


@functools.cache
def _installed_roots() -> tuple[str, ...]:
    import sysconfig

    paths = sysconfig.get_paths()
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple({os.path.realpath(paths[name]) + os.sep for name in names})


def is_standard(name: str) -> bool:
    """Tell whether module *name* is present in every worker."""
    top = name.partition(".")[0]
    return top in sys.stdlib_module_names or top in _OURS


def is_installed(name: str) -> bool:
    """
    Tell whether module *name* belongs to Python or to an installed distribution.

    An editable install counts as local, and so does a module that is not found.
    """
    if is_standard(name):
        return True
    top = name.partition(".")[0]
    path = find_module(top) or find_module(name)
    return path is not None and _is_installed_path(path)


@functools.lru_cache(maxsize=4096)
def is_standard_path(path: str) -> bool:
    """Tell whether the file at *path* belongs to Python itself."""
    if path.startswith("<frozen "):
        return True
    if "site-packages" in path or "dist-packages" in path:
        return False
    import sysconfig

    roots = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    return os.path.realpath(path).startswith(
        tuple(os.path.realpath(root) + os.sep for root in roots)
    )


@functools.lru_cache(maxsize=4096)
def _is_installed_path(path: str) -> bool:
    if "site-packages" in path or "dist-packages" in path:
        return True
    return os.path.realpath(path).startswith(_installed_roots())


def find_module(name: str) -> str | None:
    """
    Return the file of module *name*, its ``__init__.py`` for a package.

    None means that there is no such module, or that it has no file. Nothing is imported.
    """
    module = sys.modules.get(name)
    if module is not None and name != "__main__":
        path = getattr(module, "__file__", None)
        if isinstance(path, str):
            return path
    path = None
    search: Sequence[str] | None = None
    parts = name.split(".")
    for depth in range(len(parts)):
        spec = _find_spec(".".join(parts[: depth + 1]), search)
        if spec is None or (depth + 1 < len(parts) and not spec.submodule_search_locations):
            return None
        path, search = spec.origin, spec.submodule_search_locations
    return path if path is not None and os.path.isfile(path) else None


def _find_spec(name: str, search: Sequence[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(name, search)
        except Exception:
            continue
        if spec is not None:
            return spec
    return None


def file_imports(path: str, package: str) -> list[str]:
    """
    Return the names of all modules that the file at *path* imports, anywhere in it.

    Arguments:
        package: The package that its relative imports start from.
    """
    try:
        status = os.stat(path)
    except OSError:
        return []
    return list(_file_imports(path, package, status.st_mtime_ns, status.st_size))


@functools.lru_cache(maxsize=512)
def _file_imports(path: str, package: str, changed: int, size: int) -> tuple[str, ...]:
    import ast

    try:
        with open(path, "rb") as file:
            tree = ast.parse(file.read())
    except (OSError, SyntaxError, ValueError):
        return ()
    names: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(dict.fromkeys(alias.name for alias in node.names))
        elif isinstance(node, ast.ImportFrom):
            base = absolute(node.module or "", node.level, package)
            # A name imported from a package may be a module of it.
            names.update(dict.fromkeys(_with_members(base, [each.name for each in node.names])))
    return tuple(names)


def unconditional_imports(path: str, package: str) -> list[tuple[str, list[str]]]:
    """
    Return the modules that the file at *path* imports whenever it is imported itself.

    Each comes with the names of what is imported from it, which may be modules too.

    Arguments:
        package: The package that its relative imports start from.
    """
    import ast

    try:
        with open(path, "rb") as file:
            tree = ast.parse(file.read())
    except (OSError, SyntaxError, ValueError):
        return []
    found: list[tuple[str, list[str]]] = []
    for node in tree.body:
        if isinstance(node, ast.Import):
            found += [(alias.name, []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = absolute(node.module or "", node.level, package)
            found.append((base, [f"{base}.{alias.name}" for alias in node.names]))
    return found


#: The instructions that load the level of an import and the names it takes. Python 3.15 has
#: one of its own for None.
_LOADING = ("LOAD_CONST", "LOAD_SMALL_INT", "LOAD_COMMON_CONSTANT")


def code_imports(code: CodeType, package: str) -> list[str]:
    """Return the names of all modules that *code*, and code inside it, imports."""
    import dis

    names: list[str] = []
    constants: list[object] = []
    for instruction in dis.get_instructions(code):
        if instruction.opname in _LOADING:
            constants.append(instruction.argval)
        elif instruction.opname == "IMPORT_NAME":
            level, members = constants[-2:] if len(constants) > 1 else (0, None)
            base = absolute(instruction.argval, level if isinstance(level, int) else 0, package)
            names += _with_members(base, members if isinstance(members, tuple) else ())
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names += code_imports(constant, package)
    return names


_RESUMES = 0x20 | 0x80 | 0x200  # Flags of generators and coroutines.

#: The instructions that imports compile to. A ``try`` starts with NOP, or is in the
#: exception table.
_IMPORTING = {
    *("RESUME", "COPY_FREE_VARS", "MAKE_CELL", "CACHE", "GEN_START", "RETURN_GENERATOR"),
    *(*_LOADING, "IMPORT_NAME", "IMPORT_FROM", "POP_TOP", "ROT_TWO"),
    *("STORE_FAST", "STORE_DEREF", "STORE_GLOBAL", "SWAP", "STORE_FAST_LOAD_FAST"),
}


def leading_imports(code: CodeType) -> list[tuple[str, str]]:
    """
    Return the top-level modules that *code* imports before it does anything else.

    Each comes with the name that it is bound to. Later imports may never be reached.
    """
    import dis

    found: list[tuple[str, str]] = []
    module = ""
    level: object = 0
    constants: list[object] = []
    bytecode = dis.Bytecode(code)
    # The exception table of a generator covers all of it.
    entries = () if code.co_flags & _RESUMES else getattr(bytecode, "exception_entries", ())
    guarded = min((entry.start for entry in entries), default=sys.maxsize)
    for instruction in bytecode:
        if instruction.opname not in _IMPORTING or instruction.offset >= guarded:
            break
        if instruction.opname in _LOADING:
            constants.append(instruction.argval)
        elif instruction.opname == "IMPORT_NAME":
            level = constants[-2] if len(constants) > 1 else 0
            module = instruction.argval.partition(".")[0]
        elif instruction.opname.startswith("STORE") and module and not level:
            name = instruction.argval
            # Python 3.13 joins it with the load of a local name that follows.
            found.append((module, name[0] if isinstance(name, tuple) else name))
    return found


def absolute(name: str, level: int, package: str) -> str:
    """Return the absolute name of a module that is imported with *level* leading dots."""
    if not level:
        return name
    parts = package.split(".")
    parts = parts[: len(parts) - level + 1]
    return ".".join([*parts, name] if name else parts)


def _with_members(base: str, members: Sequence[object]) -> list[str]:
    return [base, *(f"{base}.{member}" for member in members if member != "*" and base)]


def referred_module(value: Any) -> str | None:
    """
    Return the module that *value* comes from if it is imported at its first use; else None.

    Nothing is imported.
    """
    kind = type(value)
    if kind is _LAZY_IMPORT:
        from fal_core_worker.importing import lazy_imports

        return lazy_imports.parts_of(value)[0]
    if kind.__module__ != _REFERENCES:
        return None
    from fal_core_worker.importing import references

    parts = references.parts_of(value)
    return None if parts is None else parts[0]
