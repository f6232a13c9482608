"""Dependencies: what a function imports from its environment."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import attrs as at
import cattrs
import pytest

from fal_core.declaring.requirement_files import listed_requirements
from fal_core.sealing.dependencies import (
    all_requirements,
    find_missing_dependencies,
    used_modules,
)
from fal_core_worker.serving.services import Server


@attrs.frozen
class Size:
    width: int


def helper() -> Any:
    return cattrs.structure


def uses_many(value: attrs.Attribute[int]) -> Any:
    return at, helper(), json


def annotated(value: cattrs.Converter) -> None:
    return None


annotated.__annotations__["value"] = cattrs.Converter


def imports_inside() -> Any:
    import json

    import click as cl
    from pluggy import PluginManager

    return json, cl, PluginManager


def imports_perhaps() -> Any:
    try:
        import click
    except ImportError:
        return None
    return click


def imports_main() -> Any:
    import __main__

    return __main__


def imports_late(flag: bool) -> Any:
    if not flag:
        return None
    import click

    return click


@pytest.mark.parametrize(
    ("function", "needed"),
    [
        (uses_many, {"attrs", "cattrs"}),
        (annotated, {"cattrs"}),
        (imports_inside, {"click", "pluggy"}),
        (imports_main, set()),
        (imports_perhaps, set()),
        (imports_late, set()),
        (functools.partial(helper), {"cattrs"}),
        (Size, {"attr"}),
        (lambda: at.fields, {"attrs"}),
    ],
)
def test_used_modules(function: Any, needed: set[str]) -> None:
    """Installed modules count that a call will surely need, through helpers too."""
    assert used_modules(function).keys() == needed


def test_missing_packages_are_named_with_their_uses() -> None:
    """A package that no requirement names comes with the names it has in the function."""
    env = {"kind": "virtualenv", "requirements": ["Cattrs>=24"]}

    assert list(find_missing_dependencies(uses_many, env)) == [("attrs", ["at"])]


@pytest.mark.parametrize(
    "requirements",
    [
        ["attrs", "cattrs[toml]==24.1"],
        [["attrs"], ["CATTRS ; python_version > '3'"]],
        ["attrs @ https://example.org/attrs.whl", "git+https://example.org/c#egg=cattrs"],
    ],
)
def test_requirements_may_be_written_in_any_way(requirements: Any) -> None:
    """Layers, extras, versions, markers and addresses name their package."""
    env = {"kind": "virtualenv", "requirements": requirements}

    assert list(find_missing_dependencies(uses_many, env)) == []


def test_other_kinds_are_not_looked_at() -> None:
    """Nothing is known to be missing from another kind of environment."""
    assert list(find_missing_dependencies(uses_many, {"kind": "conda"})) == []


class Serving(Server):
    """Serves a function, with a package that travels and one that it requires."""

    packages = ("attr", "attrs")
    requirements = ("cattrs>=1",)

    def __init__(self, func: Any) -> None:
        self.func = func

    def __call__(
        self, *, exposed_port: int | None = None, exposed_metrics_port: int | None = None
    ) -> None:
        self.func()


def test_packages_that_serving_adds_are_not_missing() -> None:
    """Packages that travel with a server, and those that it requires, need no requirement."""

    def served() -> None:
        attrs.define()
        cattrs.Converter()
        pytest.raises(KeyError)

    assert [name for name, _ in find_missing_dependencies(served, {})] != ["pytest"]
    assert [name for name, _ in find_missing_dependencies(Serving(served), {})] == ["pytest"]


def test_local_modules_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a local module imports whenever it is imported counts, through others and packages."""
    (tmp_path / "near").mkdir()
    for name, text in {
        "near/__init__.py": "",
        "near/loading.py": "import cattrs.gen\nfrom . import shapes\n",
        "near/shapes.py": (
            "from typing import TYPE_CHECKING\n"
            "import absent_thing, json\n"
            "import near.loading\n"
            "try:\n    import click\nexcept ImportError:\n    click = None\n"
            "def late():\n    import pluggy\n"
        ),
        "beside.py": "import near.loading\n",
    }.items():
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)

    def inside() -> Any:
        import beside

        return beside

    expected = {"cattrs": ["near.loading"], "absent-thing": ["near.shapes"]}
    assert dict(find_missing_dependencies(inside, {})) == expected
    module: Any = ModuleType("beside")
    module.__file__ = str(tmp_path / "beside.py")
    assert dict(find_missing_dependencies(lambda: module, {})) == expected
    assert used_modules(inside) == {}
    env = {"requirements": ["cattrs", "absent_thing"]}
    assert list(find_missing_dependencies(inside, env)) == []


def test_files_name_packages(tmp_path: Path) -> None:
    """Packages that a file of requirements lists are named."""
    (tmp_path / "more.in").write_text("-r requirements.txt\nattrs # a comment\n")
    (tmp_path / "requirements.txt").write_text("-r more.in\n\n# none\ncattrs>=24\n")
    (tmp_path / "script.py").write_text(
        "# /// script\n# dependencies = [\n#   'attrs',  # one\n"
        '#   "cattrs[x]",\n# ]\n# ///\n'
    )
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["attrs", "cattrs"]\n')
    for name in ("requirements.txt", "-r {}/requirements.txt", "script.py", "pyproject.toml"):
        entry = name.format(tmp_path) if "{" in name else f"{tmp_path}/{name}"
        assert list(find_missing_dependencies(uses_many, {"requirements": [entry]})) == []
    assert listed_requirements(f"{tmp_path}/tool-1.0-py3-none-any.whl") == [
        f"{tmp_path}/tool-1.0-py3-none-any.whl"
    ]
    (tmp_path / "tool-1.0-py3-none-any.whl").touch()
    assert listed_requirements(f"{tmp_path}/tool-1.0-py3-none-any.whl") == ["tool"]


def test_lock_of_a_project_lists_what_it_has(tmp_path: Path) -> None:
    """The packages of a project of uv are those in its lock."""
    (tmp_path / "uv.lock").write_text('[[package]]\nname = "six"\nversion = "1.17"\n')
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["idna"]\n')
    assert all_requirements({"project": str(tmp_path)}) == ["six", "idna"]
