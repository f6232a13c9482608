"""The files and projects of this machine that requirements refer to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fal_env_virtualenv import Virtualenv

if TYPE_CHECKING:
    from conftest import Builder, Evaluate, Project


@pytest.mark.usefixtures("cache")
def test_files_named_in_a_requirements_file_count(tmp_path: Path, project: Project) -> None:
    """The key of a requirements file covers the files and projects that it names."""
    top, nested = tmp_path / "top.txt", tmp_path / "nested.txt"
    top.write_text("-r nested.txt\n./demo\n")
    nested.write_text("six\n")
    environment = Virtualenv(requirements=[str(top)])
    keys = {environment.key}
    nested.write_text("six<2\n")
    keys.add(environment.key)
    project.write("value = 21\n")
    keys.add(environment.key)
    assert len(keys) == 3


def test_local_project_in_a_file(
    build: Builder, evaluate: Evaluate, project: Project, tmp_path: Path
) -> None:
    """A project that a requirements file names is built again once its sources have changed."""
    path = tmp_path / "requirements.txt"
    path.write_text("./demo\n")
    environment = Virtualenv(requirements=[str(path)])
    assert evaluate(build(environment), "demo.value", "demo") == "1"
    project.write("value = 2\n")
    assert evaluate(build(environment), "demo.value", "demo") == "2"


@pytest.mark.parametrize("force", [False, True])
def test_offline_local_project_is_built_again(
    build: Builder,
    evaluate: Evaluate,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    force: bool,
) -> None:
    """It takes no network to see that a project has changed."""
    monkeypatch.setenv("UV_OFFLINE", "1")
    environment = Virtualenv(requirements=[str(project.path)], force=force)
    assert evaluate(build(environment), "demo.value", "demo") == "1"
    project.write("value = 3\n")
    assert evaluate(build(environment), "demo.value", "demo") == "3"


@pytest.mark.usefixtures("cache")
def test_changed_local_project_changes_the_key(project: Project) -> None:
    """The key covers the sources of a local project, unless it is editable."""
    installed = Virtualenv(requirements=[str(project.path)])
    editable = Virtualenv(requirements=[f"-e {project.path}"])
    keys = installed.key, editable.key
    assert keys == (installed.key, editable.key)
    project.write("value = 20\n")
    assert installed.key != keys[0]
    assert editable.key == keys[1]
    with (project.path / "pyproject.toml").open("a") as stream:
        stream.write("# changed\n")
    assert editable.key != keys[1]


@pytest.mark.usefixtures("cache")
def test_edited_sources_change_the_stamp(project: Project) -> None:
    """The stamp covers the files that a program imports, and no others of a project."""
    assert Virtualenv(requirements=["six"]).stamp() is None
    for entry in (str(project.path), f"-e {project.path}"):
        environment = Virtualenv(requirements=[entry])
        stamp = environment.stamp()
        (project.path / "results.json").write_text(entry)
        assert environment.stamp() == stamp
        project.write(f"value = {entry!r}\n")
        assert environment.stamp() != stamp
