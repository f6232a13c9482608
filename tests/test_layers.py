"""
Imports go one way: those in functions and for the type checker count.
"""

from __future__ import annotations

import csv
import importlib
import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from house.imports import (  # noqa: E402  # the path comes first
    find_edges,
    find_knots,
    find_packages,
    leave_out,
    read_modules,
)
from house.order import ORDER, UPWARD  # noqa: E402  # the path comes first

sys.path.remove(str(ROOT / "tests"))

PACKAGES = find_packages()
MODULES = read_modules(PACKAGES)
EDGES = find_edges(MODULES)

#: Packages that run where nothing is installed, and what they may import.
TRAVELLING = {
    "fal_core_worker": {"cloudpickle"},
    # The agent uses gRPC and tblib where a function's environment has them.
    "fal_server_agent": {"fal_core_worker", "grpc", "tblib"},
}

#: Packages that are no plugins, and that plugins import.
LIBRARIES = {"fal_uv"}

#: Packages of names alone, which import the plugins that have what they name.
NAMES = {"fal_compat"}

#: Packages that are one distribution.
DISTRIBUTIONS = ({"fal_core", "fal_core_worker"}, {"fal_server", "fal_server_agent"})


def rows_of(package: str) -> dict[str, int]:
    """
    Return the row of each place of *package* in the table.
    """
    return {
        place.rstrip("/"): number
        for number, row in enumerate(ORDER[package])
        for place in row.split()
    }


def public_names() -> set[tuple[str, str]]:
    """
    Return the modules and names that the reference lists for authors of plugins.
    """
    with (ROOT / "docs/public-names.csv").open(newline="", encoding="utf-8") as file:
        return {(row["module"], row["name"]) for row in csv.DictReader(file)}


def test_the_table_has_every_package() -> None:
    """
    Each package stands in the table of the order.
    """
    assert set(ORDER) == set(PACKAGES)


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_every_place_stands_in_one_row(package: str) -> None:
    """
    Each module at the top of a package, and each folder, stands in the table once.
    """
    listed = [place for row in ORDER[package] for place in row.split()]
    places = {
        module.place + ("/" if (PACKAGES[package] / module.place).is_dir() else "")
        for module in MODULES.values()
        if module.package == package
    }
    assert sorted(listed) == sorted(places)


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_imports_go_down(package: str) -> None:
    """
    A module imports from its own place, and from those in rows below it.
    """
    row_of = rows_of(package)
    for module in MODULES.values():
        if module.package != package:
            continue
        for name in sorted(EDGES[module.name]):
            other = MODULES[name]
            if other.package != package or other.place == module.place:
                continue
            allowed = (module.name, name) in UPWARD
            down = row_of[other.place] < row_of[module.place]
            assert down or allowed, f"{module.name} imports {name}, which is not below it"


def test_nothing_is_imported_in_a_circle() -> None:
    """
    No modules import each other, but for the imports upward that are sanctioned.
    """
    assert find_knots(leave_out(EDGES, UPWARD)) == []


def test_exceptions_are_needed() -> None:
    """
    An import upward that nothing makes any more is removed from the table.
    """
    assert {(name, other) for name, other in UPWARD if other in EDGES[name]} == set(UPWARD)


@pytest.mark.parametrize("package", sorted(TRAVELLING))
def test_what_travels_needs_nothing_installed(package: str) -> None:
    """
    The worker and the agent import the standard library, themselves and what travels too.
    """
    allowed = {package, *TRAVELLING[package], *sys.stdlib_module_names}
    for module in MODULES.values():
        if module.package == package:
            tops = {name.partition(".")[0] for name in module.imported}
            # Python has it from 3.14 on.
            assert tops - {"annotationlib"} <= allowed, module.name


@pytest.mark.parametrize(
    "package", sorted(set(PACKAGES) - {"fal_core", "fal_core_worker"} - NAMES)
)
def test_no_plugin_imports_another(package: str) -> None:
    """
    A plugin imports no other plugin, and the core imports none; libraries are no plugins.
    """
    own = next((each for each in DISTRIBUTIONS if package in each), {package})
    others = set(PACKAGES) - own - LIBRARIES - {"fal_core", "fal_core_worker"}
    for module in MODULES.values():
        tops = {name.partition(".")[0] for name in module.imported}
        if module.package in own:
            assert not tops & others, module.name
        elif module.package in DISTRIBUTIONS[0]:
            assert package not in tops, module.name


def test_public_names_are_there() -> None:
    """
    Each name that the reference lists for authors of plugins can be imported.
    """
    listed = public_names()
    assert listed
    for module, name in sorted(listed):
        if importlib.util.find_spec(module.partition(".")[0]) is None:
            # It is one of a plugin, and the core is tested alone.
            continue
        found = importlib.import_module(module)
        # Protocols of the worker are there for type checkers alone.
        typed = (
            module in MODULES and f"class {name}(Protocol)" in MODULES[module].path.read_text()
        )
        assert hasattr(found, name) or typed, f"{module}.{name}"


@pytest.mark.parametrize("package", sorted(set(PACKAGES) - {"fal_core", "fal_core_worker"}))
def test_plugins_import_what_is_public(package: str) -> None:
    """
    A first-party plugin imports of the core what the reference lists, and nothing else.
    """
    public = {f"{module}.{name}" for module, name in public_names()}
    public |= {module for module, _ in public_names()}
    for module in MODULES.values():
        if module.package != package:
            continue
        for name in sorted(module.imported):
            if name.partition(".")[0] in DISTRIBUTIONS[0]:
                assert name in public, f"{module.name} imports {name}"
