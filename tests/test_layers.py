"""
Imports go one way.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CORE = ROOT / "src" / "fal_core"
WORKER = ROOT / "src" / "fal_core_worker"

#: From the bottom up. A module imports from the rows under its own alone.
LAYERS: tuple[tuple[str, ...], ...] = (
    # Values and small tools that stand alone.
    (
        "annotations",
        "caches",
        "caching",
        "checks",
        "digests",
        "facts",
        "logs",
        "machines",
        "reprs",
        "routes",
    ),
    ("errors",),
    ("bounds",),
    (
        "aio",
        "entry_points",
        "imports",
        "mismatches",
        "readers",
        "remains",
        "refusals",
        "requirements",
        "shortcuts",
    ),
    # The contracts that plugins are written against.
    ("events", "options", "environments", "hooks"),
    ("calls", "handlers", "hosts", "builtin", "printing"),
    ("wrappers",),
    # What users write, sorted and checked.
    ("scalars",),
    ("contracts", "structuring"),
    ("converters", "loaders"),
    ("catalogs", "records", "texts"),
    ("known_options", "plugins"),
    ("vocabulary", "observers", "places", "policies"),
    # What travels, and the launching end of a worker.
    ("captures", "models"),
    ("dependencies", "envelopes", "journals", "portability", "sources", "spawns"),
    ("banners", "deliveries", "executions", "sealing", "servers"),
    ("arrivals",),
    ("readings",),
    ("workers",),
    ("nesting", "outcomes"),
    # Ways to call.
    ("needs", "paces", "timeouts", "waiters"),
    ("launches",),
    ("batches", "streams", "retries", "spawning"),
    ("bindings", "futures", "maps"),
    ("functions",),
    ("decorators",),
    ("declarations",),
    ("attaching",),
    # What is told to people.
    ("option_uses", "health"),
    ("explanations",),
    ("cli",),
    # What ships for those who test a host.
    ("testing",),
)

#: Imports inside functions that go up, each with its reason.
UPWARD = {
    ("hosts", "vocabulary"): "Host.parse_options is documented, and sorts by all plugins",
    ("hosts", "functions"): "Host.run and Host.spawn are documented, and stand over launch",
}

MODULES = sorted(CORE.rglob("*.py"))


def part_of(path: Path) -> str:
    """
    Return the row name of a module: its own, or that of the folder it lies in.
    """
    return path.relative_to(CORE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> Iterator[tuple[str, bool]]:
    """
    Yield each module that is imported when *path* runs, and whether only in a function.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    yield from imports_in(tree, local=False)


def imports_in(node: ast.AST, *, local: bool) -> Iterator[tuple[str, bool]]:
    """
    Yield the imports under *node*, those for the type checker left out.
    """
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield alias.name, local
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "an import is written whole, never relative"
            assert child.module is not None
            yield child.module, local
            for alias in child.names:
                yield f"{child.module}.{alias.name}", local
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            for other in child.orelse:
                yield from imports_in(other, local=local)
        else:
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports_in(child, local=local or function)


def core_imports_of(path: Path) -> set[tuple[str, bool]]:
    """
    Return the rows that *path* imports, and whether only in a function.
    """
    rows = {name for row in LAYERS for name in row}
    parts = ((name.split("."), local) for name, local in imports_of(path))
    return {
        (names[1], local)
        for names, local in parts
        if names[0] == "fal_core" and len(names) > 1 and names[1] in rows
    }


def test_every_module_has_one_place():
    """
    Each module of the core stands in the table, and in one row of it.
    """
    placed = [name for row in LAYERS for name in row]
    assert len(placed) == len(set(placed))
    assert {part_of(path) for path in MODULES} - {"__init__"} == set(placed)


@pytest.mark.parametrize(
    "path", [path for path in MODULES if part_of(path) != "__init__"], ids=part_of
)
def test_core_imports_downward(path: Path):
    """
    A module imports from rows under its own, and upward only with a reason given.
    """
    row_of = {name: row for row, names in enumerate(LAYERS) for name in names}
    here = part_of(path)
    for there, local in sorted(core_imports_of(path)):
        if there == here or row_of[there] < row_of[here]:
            continue
        allowed = local and (here, there) in UPWARD
        assert allowed, f"{here} imports {there}, which is not under it"


def test_exceptions_are_needed():
    """
    An exception from the order that nothing uses any more is removed.
    """
    used = {
        (part_of(path), there) for path in MODULES for there, local in core_imports_of(path)
    }
    assert set(UPWARD) <= used


@pytest.mark.parametrize("path", sorted(WORKER.rglob("*.py")), ids=lambda path: path.stem)
def test_worker_needs_nothing_installed(path: Path):
    """
    The worker imports the standard library, itself, and cloudpickle, which travels with it.
    """
    for name, _ in imports_of(path):
        allowed = {"fal_core_worker", "cloudpickle", *sys.stdlib_module_names}
        assert name.partition(".")[0] in allowed, f"{path.name} imports {name}"


def packages_of_plugins() -> dict[str, Path]:
    """
    Return each plugin's package by its name.
    """
    return {path.parent.name: path.parent for path in ROOT.glob("plugins/*/src/*/__init__.py")}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_core_knows_no_plugin(path: Path):
    """
    The core never imports a plugin.
    """
    plugins = packages_of_plugins()
    assert not [name for name, _ in imports_of(path) if name.partition(".")[0] in plugins]


@pytest.mark.parametrize("package", sorted(packages_of_plugins()))
def test_plugin_uses_public_names(package: str):
    """
    A plugin imports no name with an underscore from the core or from another plugin.
    """
    ours = {"fal_core", "fal_core_worker", *packages_of_plugins()} - {package}
    for path in packages_of_plugins()[package].rglob("*.py"):
        for name, _ in imports_of(path):
            first, *rest = name.split(".")
            if first in ours:
                assert not [part for part in rest if part.startswith("_")], (
                    f"{path.name} imports {name}"
                )
