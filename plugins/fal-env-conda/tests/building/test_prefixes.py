"""Prefixes, and the choices of packages beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fal_env_conda import Conda
from fal_env_conda.building import builds
from fal_env_conda.building.prefixes import PREFIXES


def _remove(executable: str) -> None:
    """Have the environment of a Python removed, as ``fal-core env prune`` does."""
    PREFIXES.release_all()
    [entry] = [each for each in PREFIXES.entries() if executable.startswith(each.path)]
    assert PREFIXES.remove(entry)


def test_removed_prefix_takes_no_choice_from_others(
    build: Any, channel: str, cache: Path
) -> None:
    """
    The packages of an environment stay chosen while another one of the same is removed, and go
    with the last.
    """
    one = Conda(packages=["alpha-one"], channels=[channel], pip=["gamma"])
    other = Conda(packages=["alpha-one"], channels=[channel])
    first, second = build(one), build(other)
    assert first != second
    _remove(first.executable)
    assert not one.is_built()
    assert other.is_built()
    _remove(second.executable)
    assert list((cache / "solutions").iterdir()) == []
    assert list((cache / "builds").iterdir()) == []


def test_removing_what_force_replaced_keeps_the_new_choice(build: Any, channel: str) -> None:
    """The environment that was built anew is found afterwards, and not built once more."""
    options: dict[str, Any] = {"packages": ["alpha-one"], "channels": [channel]}
    first = build(Conda(**options))
    second = build(Conda(**options, force=True))
    _remove(first.executable)
    builds.forget()
    assert Conda(**options).is_built()
    assert build(Conda(**options)) == second
