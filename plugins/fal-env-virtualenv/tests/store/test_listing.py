"""The list of the environments that are kept."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fal_core.errors import OptionError
from fal_core.stores import prune
from fal_env_virtualenv.store.environments import STORE
from fal_env_virtualenv.store.listing import find_stored, list_environments

if TYPE_CHECKING:
    from conftest import Builder, Built


def test_environments_are_listed(three: list[Built]) -> None:
    """Each environment is listed with its declaration, the most recently used first."""
    listed = list_environments()
    assert [entry.key for entry in listed] == [
        environment.key for environment, _ in three[::-1]
    ]
    first = listed[0]
    assert first.details["requirements"] == (("beta",),)
    assert first.details["python_version"] == ".".join(map(str, sys.version_info[:3]))
    assert Path(first.path).name == first.details["digest"]
    assert first.size > 0
    assert 90 < time.time() - first.last_used < 200
    assert not first.in_use
    assert first.fault is None


def test_without_cache_nothing_is_listed(cache: Path) -> None:
    """If nothing was built, nothing is listed or collected, and no directory is created."""
    assert list_environments() == []
    assert prune([STORE], max_size=0).entries == ()
    assert not cache.exists()


def test_using_an_environment_makes_it_the_last_used(
    three: list[Built], build: Builder
) -> None:
    """A build that finds an environment counts as use."""
    build(three[0][0])
    assert list_environments()[0].key == three[0][0].key
    assert list_environments()[0].in_use


def test_unknown_key_lists_the_known_ones(three: list[Built]) -> None:
    """The beginning of a key is enough; the error for an unknown one lists the keys."""
    assert find_stored(three[0][0].key[:12]).key == three[0][0].key
    with pytest.raises(OptionError, match=three[0][0].key[:12]):
        find_stored("nothing")
    with pytest.raises(OptionError, match="begins with ''"):
        find_stored("")
