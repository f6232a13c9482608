"""Verifying environments, and repairing them."""

from __future__ import annotations

import shutil
from threading import Event
from typing import TYPE_CHECKING

import pytest

from fal_env_virtualenv import Virtualenv
from fal_env_virtualenv.building.builds import rebuild
from fal_env_virtualenv.building.verification import verify
from fal_env_virtualenv.store.listing import find_stored

if TYPE_CHECKING:
    from conftest import Builder, LetGo


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("lib/python*/site-packages/beta/__init__.py", "beta/__init__.py is gone"),
        ("bin/python", "interpreter"),
        (".fal-core-complete", "never finished"),
        ("lib/python*/site-packages/alpha_one*", "alpha_one-1.0.dist-info is gone"),
        ("lib/python*/site-packages/alpha_one-1.0.dist-info/RECORD", "RECORD is gone"),
    ],
)
def test_damage_is_found_and_repaired(
    build: Builder, let_go: LetGo, damage: str, says: str
) -> None:
    """Verifying reports the damage; rebuilding repairs it, with the same pins."""
    environment = Virtualenv(requirements=["beta"])
    path = let_go(build(environment))
    entry = find_stored(environment.key[:10])
    assert verify(entry.key) == []
    for target in path.glob(damage):
        shutil.rmtree(target) if target.is_dir() else target.unlink()
    problems = verify(entry.key)
    assert any(says in problem for problem in problems), problems
    rebuilt = rebuild(entry.key, lambda line: None, Event())
    assert rebuilt.path == entry.path
    assert verify(rebuilt.key) == []


def test_packages_that_do_not_fit_are_found(build: Builder, let_go: LetGo) -> None:
    """Verifying has uv check that the packages are compatible."""
    environment = Virtualenv(requirements=["beta"])
    path = let_go(build(environment))
    (metadata,) = path.glob("lib/python*/site-packages/beta-*.dist-info/METADATA")
    text = metadata.read_text()
    metadata.unlink()  # It is one file with that in uv's cache.
    metadata.write_text(text.replace("alpha-one<2", "alpha-one>=2"))
    problems = verify(environment.key)
    assert any("alpha-one" in problem and "beta" in problem for problem in problems), problems
