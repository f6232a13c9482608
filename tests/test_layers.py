"""Imports go one way: those in functions and for the type checker count."""

from __future__ import annotations

import csv
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from house.imports import (  # noqa: E402  # the path comes first
    Module,
    find_edges,
    find_knots,
    find_packages,
    leave_out,
    read_modules,
)
from house.order import ORDER, UPWARD  # noqa: E402  # the path comes first

sys.path.remove(str(ROOT / "tests"))

Modules = Mapping[str, Module]
Edges = Mapping[str, frozenset[str]]
CheckAll = Callable[..., None]

PACKAGES = find_packages()

#: Packages that run where nothing is installed, and what they may import.
TRAVELLING = {
    "fal_core_worker": {"cloudpickle"},
    # The agent uses gRPC and tblib where a function's environment has them.
    "fal_server_agent": {"fal_core_worker", "grpc", "tblib"},
}

#: Packages that are no plugins, and that plugins import.
LIBRARIES = {"fal_testing", "fal_uv"}

#: Packages of names alone, which import the plugins that have what they name.
NAMES = {"fal_compat"}

#: Packages that are one distribution.
DISTRIBUTIONS = ({"fal_core", "fal_core_worker"}, {"fal_server", "fal_server_agent"})


@pytest.fixture(scope="module")
def modules() -> Modules:
    """The modules of all packages."""
    return read_modules(PACKAGES)


@pytest.fixture(scope="module")
def edges(modules: Modules) -> Edges:
    """Which of them imports which."""
    return find_edges(modules)


def rows_of(package: str) -> dict[str, int]:
    """Return the row of each place of *package* in the table."""
    return {
        place.rstrip("/"): number
        for number, row in enumerate(ORDER[package])
        for place in row.split()
    }


def public_names() -> set[tuple[str, str]]:
    """Return the modules and names that the reference lists for authors of plugins."""
    with (ROOT / "docs/public-names.csv").open(newline="", encoding="utf-8") as file:
        return {(row["module"], row["name"]) for row in csv.DictReader(file)}


def test_the_table_has_every_package() -> None:
    """Each package stands in the table of the order."""
    assert set(ORDER) == set(PACKAGES)


def test_every_place_stands_in_one_row(modules: Modules, check_all: CheckAll) -> None:
    """Each module at the top of a package, and each folder, stands in the table once."""

    def check(package: str) -> None:
        listed = [place for row in ORDER[package] for place in row.split()]
        places = {
            module.place + ("/" if (PACKAGES[package] / module.place).is_dir() else "")
            for module in modules.values()
            if module.package == package
        }
        assert sorted(listed) == sorted(places)

    check_all(check, PACKAGES)


def test_imports_go_down(modules: Modules, edges: Edges) -> None:
    """A module imports from its own place, and from those in rows below it."""
    rows = {package: rows_of(package) for package in PACKAGES}
    wrong = []
    for module in modules.values():
        row_of = rows[module.package]
        for name in sorted(edges[module.name]):
            other = modules[name]
            if other.package != module.package or other.place == module.place:
                continue
            allowed = (module.name, name) in UPWARD
            if row_of[other.place] >= row_of[module.place] and not allowed:
                wrong.append(f"{module.name} imports {name}, which is not below it")
    assert wrong == []


def test_nothing_is_imported_in_a_circle(edges: Edges) -> None:
    """No modules import each other, but for the imports upward that are sanctioned."""
    assert find_knots(leave_out(edges, UPWARD)) == []


def test_exceptions_are_needed(edges: Edges) -> None:
    """An import upward that nothing makes any more is removed from the table."""
    assert {(name, other) for name, other in UPWARD if other in edges[name]} == set(UPWARD)


def test_what_travels_needs_nothing_installed(modules: Modules) -> None:
    """The worker and the agent import the standard library, themselves and what travels too."""
    wrong = {}
    for module in modules.values():
        if module.package in TRAVELLING:
            tops = {name.partition(".")[0] for name in module.imported}
            allowed = {module.package, *TRAVELLING[module.package], *sys.stdlib_module_names}
            # Python has it from 3.14 on.
            wrong[module.name] = tops - allowed - {"annotationlib"}
    assert {module.partition(".")[0] for module in wrong} == set(TRAVELLING)
    assert {module: tops for module, tops in wrong.items() if tops} == {}


def test_no_plugin_imports_another(modules: Modules) -> None:
    """A plugin imports no other plugin, and the core imports none; libraries are no plugins."""
    core = DISTRIBUTIONS[0]
    wrong = {}
    for module in modules.values():
        tops = {name.partition(".")[0] for name in module.imported} & set(PACKAGES)
        own = next((it for it in DISTRIBUTIONS if module.package in it), {module.package})
        allowed = own if module.package in core else own | core | LIBRARIES
        allowed = allowed | {up.partition(".")[0] for name, up in UPWARD if name == module.name}
        if module.package not in NAMES and tops - allowed:
            wrong[module.name] = tops - allowed
    assert wrong == {}


def test_public_names_are_there(modules: Modules) -> None:
    """Each name that the reference lists for authors of plugins can be imported."""
    listed = public_names()
    assert listed
    for module, name in sorted(listed):
        if importlib.util.find_spec(module.partition(".")[0]) is None:
            # It is one of a plugin, and the core is tested alone.
            continue
        found = importlib.import_module(module)
        # Protocols of the worker are there for type checkers alone.
        typed = (
            module in modules and f"class {name}(Protocol)" in modules[module].path.read_text()
        )
        assert hasattr(found, name) or typed, f"{module}.{name}"


def test_plugins_import_what_is_public(modules: Modules) -> None:
    """A first-party plugin imports of the core what the reference lists, and nothing else."""
    public = {f"{module}.{name}" for module, name in public_names()}
    public |= {module for module, _ in public_names()}
    wrong = {}
    for module in modules.values():
        if module.package not in DISTRIBUTIONS[0]:
            names = {it for it in module.imported if it.partition(".")[0] in DISTRIBUTIONS[0]}
            if names - public:
                wrong[module.name] = names - public
    assert wrong == {}
