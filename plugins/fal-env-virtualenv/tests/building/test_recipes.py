"""Recipes and their keys."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from fal_env_virtualenv import Virtualenv


def test_recipe_has_what_distinguishes_environments() -> None:
    """A recipe does not include how the environment is resolved and built."""
    plain = Virtualenv(requirements=["six"], tags=["mine"])
    assert plain.recipe == Virtualenv(requirements=[["six"]], tags=["mine"], force=True).recipe
    assert plain.recipe != Virtualenv(requirements=["six"]).recipe


@pytest.mark.usefixtures("cache")
def test_equal_declarations_have_equal_keys() -> None:
    """Equal layers have equal keys, even if they are resolved and built differently."""
    key = Virtualenv(requirements=["six"]).key
    assert key == Virtualenv(requirements=[["six"]]).key
    assert key == Virtualenv(requirements=["six"], resolver="pip", force=True).key


@pytest.mark.usefixtures("cache")
def test_every_change_of_the_environment_changes_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key covers the declaration, the Python, constraints, tags and the index."""
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("six<2\n")
    declared = [
        Virtualenv(),
        Virtualenv(requirements=["six"]),
        Virtualenv(requirements=["six", "idna"]),
        Virtualenv(requirements=[["six"], ["idna"]]),
        Virtualenv(requirements=["six"], compile_bytecode=True),
        Virtualenv(requirements=["six"], tags=["mine"]),
        Virtualenv(requirements=["six"], constraints_file=constraints),
        Virtualenv(requirements=["six"], extra_index_urls=["https://host/simple"]),
    ]
    keys = [environment.key for environment in declared]
    constraints.write_text("six<1.17\n")
    keys.append(declared[6].key)
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://host/simple")
    keys.append(declared[1].key)
    assert len(set(keys)) == len(keys)


@pytest.mark.usefixtures("cache")
def test_credentials_are_not_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new password leads to the same environment."""
    keys = set()
    for password in ("one", "two"):
        monkeypatch.setenv("UV_DEFAULT_INDEX", f"https://me:{password}@host/simple")
        monkeypatch.setenv("UV_INDEX", f"https://{password}@other/simple")
        environment = Virtualenv(
            requirements=[f"tool @ git+https://me:{password}@host/tool.git"],
            extra_index_urls=[f"https://me:{password}@third/simple"],
        )
        keys.add(environment.key)
    assert len(keys) == 1


@pytest.mark.usefixtures("cache")
def test_pip_names_the_index_where_uv_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of pip count unless one of uv names an index."""
    monkeypatch.delenv("UV_NO_INDEX")
    environment = Virtualenv(requirements=["six"])
    plain = environment.key
    monkeypatch.setenv("PIP_INDEX_URL", "https://host/simple")
    by_pip = environment.key
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://other/simple")
    assert len({plain, by_pip, environment.key}) == 3


@pytest.mark.usefixtures("cache")
def test_key_costs_little() -> None:
    """A key is cheap, because a host asks for it at each call."""
    environment = Virtualenv(requirements=["six", "idna>=3", "iniconfig"])
    environment.key  # noqa: B018  # the property is computed
    costs = []
    for _ in range(50):
        # Not that of the clock: others may run meanwhile.
        started = time.thread_time()
        environment.key  # noqa: B018  # the property is computed
        costs.append(time.thread_time() - started)
    assert sorted(costs)[25] < 0.001
