"""
Dependencies: what a function imports from its environment.
"""

from __future__ import annotations

import functools
import json
from typing import Any

import attrs
import attrs as at
import cattrs
import pytest

from fal_core.sealing.dependencies import find_missing_dependencies, used_modules
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
    """
    Installed modules count that a call will surely need, through helpers too.
    """
    assert used_modules(function).keys() == needed


def test_missing_packages_are_named_with_their_uses() -> None:
    """
    A package that no requirement names comes with the names it has in the function.
    """
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
    """
    Layers, extras, versions, markers and addresses name their package.
    """
    env = {"kind": "virtualenv", "requirements": requirements}

    assert list(find_missing_dependencies(uses_many, env)) == []


def test_other_kinds_are_not_looked_at() -> None:
    """
    Nothing is known to be missing from another kind of environment.
    """
    assert list(find_missing_dependencies(uses_many, {"kind": "conda"})) == []


class Serving(Server):
    """
    Serves a function, with a package that travels and one that it requires.
    """

    packages = ("attr", "attrs")
    requirements = ("cattrs>=1",)

    def __init__(self, func: Any) -> None:
        self.func = func

    def __call__(
        self, *, exposed_port: int | None = None, exposed_metrics_port: int | None = None
    ) -> None:
        self.func()


def test_packages_that_serving_adds_are_not_missing() -> None:
    """
    Packages that travel with a server, and those that it requires, need no requirement.
    """

    def served() -> None:
        attrs.define()
        cattrs.Converter()
        pytest.raises(KeyError)

    assert [name for name, _ in find_missing_dependencies(served, {})] != ["pytest"]
    assert [name for name, _ in find_missing_dependencies(Serving(served), {})] == ["pytest"]
