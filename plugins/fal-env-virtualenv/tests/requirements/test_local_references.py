"""
The files and projects that requirements refer to.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fal_env_virtualenv import Virtualenv

if TYPE_CHECKING:
    from conftest import Builder, Evaluate, Project


@pytest.mark.usefixtures("cache")
def test_what_a_requirements_file_refers_to_counts(tmp_path: Path, project: Project) -> None:
    """
    The key of a requirements file covers the files and projects that it names.
    """
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
    """
    A project that a requirements file names is built again once its sources have changed.
    """
    path = tmp_path / "requirements.txt"
    path.write_text("./demo\n")
    environment = Virtualenv(requirements=[str(path)])
    assert evaluate(build(environment), "demo.value", "demo") == "1"
    project.write("value = 2\n")
    assert evaluate(build(environment), "demo.value", "demo") == "2"
