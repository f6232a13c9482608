"""The catalog: errors for names that no plugin provides."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import pytest
from plugin_examples import plugin

import fal_core
from fal_core import function as isolated
from fal_core.errors import UnknownNameError
from fal_core.plugins import installed as plugins
from fal_core.plugins.catalog import DOCUMENTED, MODULES_OF_EXTRAS
from fal_core.plugins.entry_points import EntryPoint, find_entry_points
from fal_testing import InProcessHost

#: Stands for what is said of a known name, which the installed fal-core decides.
ADD = "add it"


@pytest.mark.parametrize(
    ("find", "name", "hint"),
    [
        (plugins.make_host, "serverless", ADD),
        (plugins.make_host, "ray://head:10001", ADD),
        (plugins.make_host, "serverles", "Did you mean 'serverless'?"),
        (plugins.find_environment, "conda", ADD),
        (plugins.find_environment, "curent", "Did you mean 'current'?"),
        (plugins.find_environment, "container", ADD),
    ],
)
def test_unknown_name_says_what_to_install_or_to_write(
    find: Callable[[str], object], name: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The error for a known name says how to install its plugin; for a near miss it suggests one.

    An extra is suggested only where the installed fal-core has it.
    """
    name, _, _ = name.partition(":")
    if hint is ADD:
        extras = {extra for known in DOCUMENTED.values() for extra in [known.get(name)]}
        extras &= set(metadata("fal-core").get_all("Provides-Extra") or ())
        hint = "This version of fal-core has no extra that brings it."
        for extra in extras:
            hint = f"Install it with `pip install 'fal-core[{extra}]'`."
    absent = {"conda", "container", "ray", "serverless"}
    installed = [entry for entry in find_entry_points() if entry.name not in absent]
    monkeypatch.setattr(plugins, "find_entry_points", lambda: tuple(installed))
    with plugins.registered(plugin()), pytest.raises(UnknownNameError) as caught:
        find(name)
    assert hint in str(caught.value)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value", "verb"),
    [("FAL_CORE_PLUGINS_DENY", "away", "names"), ("FAL_CORE_PLUGINS", "x", "does not name")],
)
def test_name_of_a_plugin_that_is_kept_out_says_by_what(
    variable: str, value: str, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error for a plugin that is installed and kept out by a list names the list."""
    away = EntryPoint("away", "fal_host_away", "fal-host-away", "1.0")
    monkeypatch.setattr(plugins, "find_entry_points", lambda: (away,))
    monkeypatch.setenv(variable, value)
    with plugins.registered(plugin()), pytest.raises(UnknownNameError) as caught:
        plugins.find_host("away")
    assert str(caught.value).endswith(
        f"Plugin 'away (fal-host-away 1.0)' is installed, but {variable} {verb} it."
    )


def test_name_of_the_other_role_says_which_it_is() -> None:
    """Naming a kind as a host, or a host as a kind, is an error that says which it is."""
    with pytest.raises(UnknownNameError, match="a kind of environment: write kind='current'"):
        plugins.find_host("current")
    with pytest.raises(UnknownNameError, match="It is a host: write host='local'"):
        plugins.find_environment("local")


def test_an_image_without_a_kind_for_it_says_what_it_implies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``image=`` implies kind ``container``; where no plugin has it, the error says both."""
    monkeypatch.setenv("FAL_CORE_PLUGINS_DENY", "container")
    with plugins.registered(plugin()):
        for kind in ((), ("virtualenv",)):
            with pytest.raises(UnknownNameError) as caught:
                isolated(*kind, host=InProcessHost(), image="python:3.11")
            assert "'container'" in str(caught.value)
            assert "Option 'image' implies this kind. " in str(caught.value)
        with pytest.raises(UnknownNameError) as caught:
            isolated("container", host=InProcessHost(), image="python:3.11")
        assert "implies" not in str(caught.value)


def test_no_message_suggests_an_extra_that_there_is_not() -> None:
    """Every extra that a message names exists."""
    package = Path(fal_core.__file__).parent
    named = {
        (extra, path.name)
        for path in sorted(package.rglob("*.py"))
        for extra in re.findall(r"'fal-core\[([a-z-]+)\]'", path.read_text("utf-8"))
    }
    assert named
    offered = metadata("fal-core").get_all("Provides-Extra") or ()
    assert [each for each in sorted(named) if each[0] not in offered] == []


@pytest.fixture(scope="module")
def projects() -> Mapping[str, Any]:
    """The ``pyproject.toml`` of each distribution of this repository, by its name."""
    tomllib = pytest.importorskip("tomllib")
    root = Path(__file__).resolve().parents[2]
    paths = (root / "pyproject.toml", *root.glob("plugins/*/pyproject.toml"))
    read = [tomllib.loads(path.read_text("utf-8")) for path in paths]
    return {each["project"]["name"]: each for each in read}


def modules_of(requirement: str, projects: Mapping[str, Any]) -> Iterator[str]:
    """Yield the modules of this repository that *requirement* brings."""
    found = re.match(r"([\w-]+)(?:\[(.*)\])?", requirement)
    assert found is not None
    name, extras = found[1], re.findall(r"[\w-]+", found[2] or "")
    if name not in projects:
        return
    for path in projects[name]["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        yield Path(path).name
    project = projects[name]["project"]
    needed = [*project.get("dependencies", ())]
    for extra in extras:
        needed += project["optional-dependencies"][extra]
    for each in needed:
        yield from modules_of(each, projects)


@pytest.mark.parametrize(("module", "extra"), MODULES_OF_EXTRAS.items())
def test_the_extra_of_a_module_brings_it(
    projects: Mapping[str, Any], module: str, extra: str
) -> None:
    """Whoever installs the extra that an error names has the module."""
    assert module in set(modules_of(f"fal-core[{extra}]", projects))
    assert module not in set(modules_of("fal-core", projects))


def test_each_plugin_has_an_extra(projects: Mapping[str, Any]) -> None:
    """Every plugin of this repository is known by the module that its entry points name."""
    modules = {
        entry.partition(":")[0].partition(".")[0]
        for each in projects.values()
        for entry in each["project"].get("entry-points", {}).get("fal_core", {}).values()
    }
    # These are no plugins: one has the names of others alone, and one is a library for tests.
    assert modules - {"fal_core"} == set(MODULES_OF_EXTRAS) - {"fal_compat", "fal_testing"}
