"""
Pins, from which an environment is built again.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from fal_env_virtualenv import Virtualenv
from fal_env_virtualenv.building.pins import add_hashes

if TYPE_CHECKING:
    from conftest import Builder, Evaluate, Project


def test_repository(build: Builder, evaluate: Evaluate, project: Project) -> None:
    """
    A repository is pinned to its commit, from which a lost environment is built again.
    """
    git = ["git", "-C", str(project.path), "-c", "user.name=x", "-c", "user.email=x@x"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *arguments], check=True, timeout=60)
    environment = Virtualenv(requirements=[f"demo @ git+file://{project.path}"])
    interpreter = build(environment)
    project.write("value = 2\n")
    subprocess.run([*git, "commit", "-qam", "two"], check=True, timeout=60)
    Path(interpreter.executable).unlink()
    assert not environment.is_built()
    rebuilt = build(environment)
    assert rebuilt == interpreter
    assert evaluate(rebuilt, "demo.value", "demo") == "1"


def test_hashes_are_added_to_the_pins_they_belong_to() -> None:
    """
    Names are compared as indexes compare them; requirements from a URL get no hash.
    """
    compiled = "delta-four==1.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\nsix==2.0\n"
    pins = ("Delta.Four==1.0", "six==2.0", "-e file:///a==b", "tool @ https://host/tool")
    assert add_hashes(pins, compiled) == (
        "Delta.Four==1.0 --hash=sha256:aa --hash=sha256:bb",
        *pins[1:],
    )
    assert add_hashes(pins, "") == pins
