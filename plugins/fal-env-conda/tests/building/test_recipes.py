"""Keys, and the machine that packages are chosen for."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import Any

import pytest

from fal_core.machines import Machine
from fal_env_conda import Conda
from fal_env_conda.building import recipes
from fal_env_conda.building.locks import lock
from fal_env_conda.rattling.platforms import subdir
from fal_uv.testing import write_project


def test_key_is_that_of_the_packages_that_were_chosen(build: Any, channel: str) -> None:
    """Two declarations of which the same packages follow have one key, and one prefix."""
    one = Conda(packages=["alpha-one"], channels=[channel])
    other = Conda(packages=["alpha-one >=2"], channels=[channel])
    assert build(one).executable == build(other).executable
    recipes.forget()
    assert one.key == other.key
    assert one.key != Conda(packages=["alpha-one=1"], channels=[channel]).key


def test_key_stays_while_the_process_runs(build: Any, channel: str) -> None:
    """Functions that are declared before and after the first build share workers."""
    before = Conda(packages=["beta"], channels=[channel]).key
    build(Conda(packages=["beta"], channels=[channel]))
    assert Conda(packages=["beta"], channels=[channel]).key == before


def test_machine_stands_in_the_key(channel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What packages may know of the machine makes another key."""
    environment = Conda(packages=["alpha-one"], channels=[channel])
    before = environment.key
    monkeypatch.setenv("CONDA_OVERRIDE_CUDA", "12.4")
    with_cuda = environment.key
    monkeypatch.setenv("CONDA_OVERRIDE_CUDA", "11.8")
    assert len({before, with_cuda, environment.key}) == 3


def test_packages_are_chosen_for_the_machine_type(
    build: Any, evaluate: Any, channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package for CUDA is chosen where the machine has it, and never for one without."""
    read = "open(sys.prefix + '/share/engine.txt').read().strip()"
    environment = Conda(packages=["engine"], channels=[channel])
    on_cpu = environment.for_machine(Machine(name="S"))
    assert evaluate(build(on_cpu), read) == "cpu"
    monkeypatch.setenv("CONDA_OVERRIDE_CUDA", "12.4")
    assert evaluate(build(environment), read) == "cuda"
    monkeypatch.setenv("CONDA_OVERRIDE_CUDA", "11.8")
    assert evaluate(build(environment), read) == "cpu"


def test_credentials_stand_in_no_key() -> None:
    """The same channel with another password is the same channel."""
    one = Conda(packages=["words"], channels=["https://me:one@host/channel"])
    other = Conda(packages=["words"], channels=["https://host/t/tk-2/channel"])
    assert one.key == other.key
    one = Conda(packages=["https://me:one@host/channel::words"])
    other = Conda(packages=["https://host/t/tk-2/channel::words"])
    assert one.key == other.key


def test_order_of_channels_stands_in_the_key() -> None:
    """The first channel that has a package is the one that it comes from."""
    one = Conda(channels=["https://host/a", "https://host/b"])
    assert one.key != Conda(channels=["https://host/b", "https://host/a"]).key


def test_local_project_stands_in_the_key_and_the_stamp(tmp_path: Path) -> None:
    """A project among the pip requirements makes another key when its files change."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text("[project]\nname = 'p'\nversion = '1'\n")
    (project / "p.py").write_text("value = 1\n")
    environment = Conda(pip=[str(project)])
    key, stamp = environment.key, environment.stamp()
    (project / "p.py").write_text("value = 20\n")
    assert environment.key != key
    assert environment.stamp() != stamp
    assert Conda(pip=["six"]).stamp() is None


def test_project_of_a_lock_stands_in_the_key_and_is_built_again(
    build: Any, evaluate: Any, channel: str, tmp_path: Path
) -> None:
    """As pixi writes local projects into locks: relative to it, with a digest of their own."""
    project = write_project(tmp_path / "project")
    written = lock(Conda(channels=[channel]).recipe, lambda line: None, Event()).lock
    where = f"      {subdir()}:\n"
    text = written.replace(where, f"{where}      - pypi: ./project\n")
    digest = "0" * 64
    text += f"- pypi: ./project\n  name: project\n  version: '1.5'\n  sha256: {digest}\n"
    path = tmp_path / "pixi.lock"
    path.write_text(text)
    environment = Conda(env_yml=path)
    key, stamp = environment.key, environment.stamp()
    assert evaluate(build(environment), "project.value", "project") == "1"
    project.write("value = 20\n")
    assert environment.key != key
    assert environment.stamp() != stamp
    assert evaluate(build(environment), "project.value", "project") == "20"


@pytest.mark.parametrize("place", ["user:hidden-1@a.org/c", "a.org/t/hidden-1/c"])
def test_credentials_of_a_package_are_shown_nowhere(place: str) -> None:
    """A package may name its channel by a URL, or be named by one."""
    package = f"https://{place}::tool"
    for made in (Conda(packages=[package]), Conda(env_dict={"dependencies": [package]})):
        assert "hidden-1" not in repr(made)
        assert "hidden-1" not in made.recipe.summary
        assert "tool" in made.recipe.summary
