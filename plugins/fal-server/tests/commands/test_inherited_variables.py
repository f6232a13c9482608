"""Inherited variables: nothing that runs on a server sees its operator's own variables."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fal_server.commands.inherited_variables import leave_behind

#: What nobody but the operator is to know.
SECRET = "sentinel-of-the-operator"

#: A project whose builder writes down what it sees, and needs nothing from an index.
PROJECT = {
    "pyproject.toml": """
[build-system]
requires = []
build-backend = "builder"
backend-path = ["."]

[project]
name = "seen"
version = "1"
""",
    "builder.py": """
import os, zipfile


def build_wheel(folder, settings=None, metadata=None):
    name = "seen-1-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        lines = "".join(f"{name}={value!r}\\n" for name, value in os.environ.items())
        wheel.writestr("seen.txt", lines)
        about = "Metadata-Version: 2.1\\nName: seen\\nVersion: 1\\n"
        wheel.writestr("seen-1.dist-info/METADATA", about)
        wheel.writestr("seen-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        wheel.writestr("seen-1.dist-info/RECORD", "")
    return name
""",
}


@pytest.fixture(scope="module")
def served_plane(make_standing: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server whose operator has secrets in the environment, the key to it among them."""
    variables = {
        "OPERATOR_AWS_SECRET": SECRET,
        "FAL_KEY": f"operator:{SECRET}",
        "UV_INDEX_PRIVATE_PASSWORD": SECRET,
        "PASSED_ON": "passed on",
    }
    return make_standing(
        tmp_path_factory.mktemp("surrounded"), "--variable", "PASSED_*", variables=variables
    )


def test_applications_see_nothing_of_the_operator(served_plane: Any):
    """
    An application finds no variable of the server but those that programs need to find
    their way, and those that the operator has named.
    """
    served_plane.deploy("looks")
    with served_plane.client("run") as client:
        found = client.post("/owner/looks/look", json={}).json()["variables"]
    assert SECRET not in "".join(found.values())
    assert found["PATH"] == os.environ["PATH"]
    assert found["PASSED_ON"] == "passed on"


def test_functions_see_nothing_of_the_operator(served_plane: Any):
    """
    A function does not find them either, nor are they among the variables that its process
    was started with.
    """

    def look() -> Any:
        import os

        with open("/proc/self/environ") as file:
            return dict(os.environ), file.read()

    found, first = served_plane.run(look)
    assert SECRET not in "".join(found.values())
    assert "OPERATOR_AWS_SECRET" not in first
    assert "FAL_KEY=operator" not in first


def test_builds_see_nothing_of_the_operator(served_plane: Any, tmp_path: Path):
    """
    The build of a requirement sees the settings of package indexes, and no other variable
    of the operator.
    """
    for name, text in PROJECT.items():
        (tmp_path / name).write_text(text)

    def look() -> str:
        import sysconfig
        from pathlib import Path

        return Path(sysconfig.get_path("purelib"), "seen.txt").read_text()

    def change(request: Any) -> None:
        configuration = request.environments[0].configuration
        configuration.update({"requirements": [f"seen @ file://{tmp_path}"]})

    seen = served_plane.run(look, change=change)
    assert "PATH=" in seen
    assert "OPERATOR_AWS_SECRET" not in seen
    assert "FAL_KEY" not in seen


def test_variables_that_are_kept():
    """
    Variables are kept by name or pattern; those for publishing packages are not, unless the
    operator names them.
    """
    given = {"LC_ALL": "C", "https_proxy": "p", "UV_PUBLISH_TOKEN": "t", "AWS_KEY": "k"}
    variables = dict(given)
    leave_behind(variables)
    assert variables == {"LC_ALL": "C", "https_proxy": "p"}
    variables = dict(given)
    leave_behind(variables, ["AWS_*", "UV_PUBLISH_TOKEN"])
    assert variables == given
