"""What ``fal-core env`` lists of conda environments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fal_core.environments import THIS_PYTHON
from fal_core.stores import prune
from fal_env_conda import Conda, fal_register_stores
from fal_env_conda.building.prefixes import PREFIXES
from fal_env_conda.building.solutions import read_solution


def test_prefixes_and_rattlers_cache_are_listed(build: Any, channel: str, shared: Path) -> None:
    """Each has its size, and what is in it; rattler's cache is not to be removed."""
    build(Conda(packages=["alpha-one"], channels=[channel], pip=["gamma"]))
    prefixes, cache, _ = fal_register_stores()
    [prefix] = prefixes.entries()
    assert prefix.summary == f"python={THIS_PYTHON} alpha-one pip:gamma"
    assert prefix.size > 1_000_000
    assert prefix.in_use
    assert prefix.fault is None
    packages = {entry.key: entry for entry in cache.entries()}["rattler-pkgs"]
    assert Path(packages.path) == shared / "rattler" / "pkgs"
    assert packages.size > 1_000_000
    assert cache.is_shared
    assert not cache.remove(packages)


def test_removed_prefix_is_solved_anew(build: Any, channel: str) -> None:
    """With a prefix that is pruned goes the choice of its packages."""
    environment = Conda(packages=["alpha-one"], channels=[channel])
    build(environment)
    question = environment.recipe.question
    assert read_solution(question) is not None
    PREFIXES.release_all()
    pruned = prune(fal_register_stores(), max_size=0)
    assert [entry.kind for entry in pruned.entries] == ["conda"]
    assert not environment.is_built()
    assert read_solution(question) is None
    build(environment)
    assert any(line.startswith("Solving") for line in build.messages)
