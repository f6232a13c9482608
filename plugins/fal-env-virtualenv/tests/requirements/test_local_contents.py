"""
The contents of local requirements: digests and stamps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fal_env_virtualenv import Virtualenv

if TYPE_CHECKING:
    from conftest import Project


@pytest.mark.usefixtures("cache")
def test_changed_local_project_changes_the_key(project: Project) -> None:
    """
    The key covers the sources of a local project, unless it is editable.
    """
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
    """
    The stamp covers what a program imports, and no other files of a project.
    """
    assert Virtualenv(requirements=["six"]).stamp() is None
    for entry in (str(project.path), f"-e {project.path}"):
        environment = Virtualenv(requirements=[entry])
        stamp = environment.stamp()
        (project.path / "results.json").write_text(entry)
        assert environment.stamp() == stamp
        project.write(f"value = {entry!r}\n")
        assert environment.stamp() != stamp
