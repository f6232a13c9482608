"""
Directories are removed as a whole, and leftovers of killed builds by the next one.
"""

from __future__ import annotations

from pathlib import Path

from fal_env_virtualenv.store.layout import make_directories
from fal_env_virtualenv.store.trash import discard, sweep


def test_discarded_directory_is_gone(cache: Path) -> None:
    """
    A directory is removed with what is in it; one that does not exist is no error.
    """
    directory = cache / "environment"
    (directory / "bin").mkdir(parents=True)
    discard(str(directory))
    discard(str(directory))
    assert not directory.exists()
    assert list((cache / "trash").iterdir()) == []


def test_sweep_removes_leftovers_of_one_key(cache: Path) -> None:
    """
    Builds of other keys may be running, so what they have written stays.
    """
    make_directories()
    for name in ("building/mine.12", "building/mine.34", "building/other.12", "trash/56"):
        (cache / name).mkdir()
    sweep("mine")
    assert [path.name for path in (cache / "building").iterdir()] == ["other.12"]
    assert list((cache / "trash").iterdir()) == []
