"""What somebody must hold in the head to change a package, and how much of it there may be."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from house.imports import ROOT, Module, find_edges, find_knots

#: What the author of a host reads, in that order.
CONTRACT = (
    "errors",
    "events",
    "options",
    "environments",
    "machines",
    "calls",
    "hosts",
    "hooks",
    "checks",
)

#: The most of each measure. A budget goes down with what is taken away, and goes up with a
#: sentence beside it alone, which says what a user gets for it.
BUDGETS = {
    "contract": 2266,
    "contract, functions and routes": 2650,
    "public names": 495,
    "modules of the smallest host": 55,
    "modules of a declaration": 124,
    "modules of fal_host_ray in a declaration": 3,
    "modules of a first call": 201,
    "bytes of the worker's archive": 159000,
    "modules in the largest knot": 56,
    "module names in several places": 131,
    "lines with vague words": 2,
    "tests": 141400,
    "source": 145777,
    "fal_core": 35135,
    "fal_core_worker": 9491,
    "fal_testing": 9460,
    "fal_uv": 3945,
    "fal_env_virtualenv": 1188,
    "fal_env_conda": 3943,
    "fal_env_container": 6658,
    "fal_machines": 1002,
    "fal_host_local": 4039,
    "fal_host_ray": 2434,
    "fal_host_serverless": 10271,
    "fal_serve": 14296,
    "fal_compat": 2675,
    "fal_server": 38157,
    "fal_server_agent": 3083,
}

#: Words that say less than the noun they stand for.
VAGUE = re.compile(r"\b(who|what|which|whom)ever\b", re.IGNORECASE)


def measure_texts(modules: Mapping[str, Module]) -> dict[str, int]:
    """Return those measures that the files of the repository give, by their names."""
    contract = sum(modules[f"fal_core.{name}"].lines for name in CONTRACT)
    front = sum(modules[f"fal_core.{name}"].lines for name in ("functions", "routes"))
    knots = find_knots(find_edges(modules))
    sizes = Counter[str]()
    for module in modules.values():
        sizes[module.package] += module.lines
    with (ROOT / "docs/public-names.csv").open(newline="", encoding="utf-8") as file:
        public = sum(1 for _ in csv.DictReader(file))
    return {
        "contract": contract,
        "contract, functions and routes": contract + front,
        "public names": public,
        "modules in the largest knot": max(map(len, knots), default=0),
        "module names in several places": len(find_repeated(modules)),
        "lines with vague words": sum(bool(VAGUE.search(line)) for line in list_lines()),
        "tests": sum(len(path.read_text("utf-8").splitlines()) for path in list_tests()),
        "source": sizes.total(),
        **sizes,
    }


def find_repeated(modules: Mapping[str, Module]) -> dict[str, int]:
    """Return how many modules have the same last name, for each that more than one has."""
    counted = Counter(
        module.name.rpartition(".")[2] for module in modules.values() if not module.is_folder
    )
    return {name: count for name, count in counted.items() if count > 1}


def find_lonely(modules: Mapping[str, Module]) -> Iterator[tuple[str, str]]:
    """
    Yield each module that one other module of its own folder imports and no other does, with
    that other one.
    """
    users: dict[str, set[str]] = {}
    for name, others in find_edges(modules).items():
        for other in others:
            users.setdefault(other, set()).add(name)
    for name, found in sorted(users.items()):
        user = min(found)
        alone = len(found) == 1 and not modules[name].is_folder
        if alone and user.rpartition(".")[0] == name.rpartition(".")[0]:
            yield name, user


def find_overdrawn(measured: Mapping[str, int]) -> Iterator[str]:
    """Yield a sentence for each measure that is above its budget or has none."""
    for name, value in measured.items():
        budget = BUDGETS.get(name)
        if budget is None:
            yield f"{name}: {value:,}, and tests/house/budgets.py has no budget for it."
        elif value > budget:
            yield f"{name}: {value:,}, and the budget in tests/house/budgets.py is {budget:,}."


def list_lines() -> Iterator[str]:
    """Yield the lines of the source and of the documentation."""
    found = [*ROOT.glob("src/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")]
    found += [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]
    for path in found:
        if "_build" not in path.parts:
            yield from path.read_text("utf-8").splitlines()


def list_tests() -> Iterator[Path]:
    """Yield the files of all tests."""
    yield from ROOT.glob("tests/**/*.py")
    yield from ROOT.glob("plugins/*/tests/**/*.py")
