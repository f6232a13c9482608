"""Loading: each plugin apart from the others; errors are listed under its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from plugin_examples import ENVIRONMENT, GOOD, HOST, INVALID, SOURCE, UNLOADABLE, install, run

from fal_core.environments import CurrentEnvironment
from fal_core.plugins import installed as plugins


@pytest.mark.parametrize("name", UNLOADABLE)
def test_broken_plugin_is_named_with_its_reason(listing: Any, name: str) -> None:
    """A broken plugin is listed under its name and its distribution, with its error."""
    label = f"{name} (plugin-{name.replace('_', '-')} 1.0)"
    assert UNLOADABLE[name][1] in listing["broken"][label]
    assert label in listing["broken"][label]
    assert listing["descriptions"][label] in listing["broken"][label]


def test_broken_plugins_break_nothing_else(listing: Any) -> None:
    """Beside broken plugins the others work, and no hook of a broken one is called."""
    assert set(listing["loaded"]) == {"core", *GOOD}
    assert listing["hosts"] == ["beginning", "good"]
    assert listing["environments"] == ["current", "good", "left", "right"]
    assert len(listing["broken"]) == len(UNLOADABLE) + len(INVALID) + 1
    assert listing["asked"]["good"] == "good_plugin"
    assert listing["kinds"]["left"] == "left_plugin"
    assert [name.partition(" ")[0] for name in listing["hooks"]] == sorted(GOOD)


def test_name_that_two_plugins_claim_is_refused_with_both(listing: Any) -> None:
    """Asking for a name that two plugins claim is an error that names both."""
    error = listing["asked"]["shared"]
    assert error.startswith("PluginError")
    assert "left (plugin-left 1.0)" in error
    assert "right (plugin-right 1.0)" in error
    assert "host 'shared'" in error
    assert error.partition(": ")[2] in listing["broken"].values()


def test_names_that_two_plugins_claim_are_listed_with_each(listing: Any) -> None:
    """Each plugin is listed once, those that claim the same name with that."""
    labels = listing["labels"]
    assert len(labels) == len(set(labels)) == 1 + len({**UNLOADABLE, **INVALID, **GOOD})
    for name in ("left", "right"):
        problem = listing["descriptions"][f"{name} (plugin-{name} 1.0)"]
        assert problem in listing["broken"].values()
        assert "host 'shared'" in problem
    assert not listing["descriptions"]["good (plugin-good 1.0)"]


@pytest.mark.parametrize(
    ("asked", "name", "plugin"),
    [
        (
            "asked",
            "exits",
            "'exits (plugin-exits 1.0)': it could not be loaded: SystemExit: 3.",
        ),
        ("asked", "odd", "Plugin 'odd_options (plugin-odd-options 1.0)': The options of Place"),
        ("kinds", "unreadable", "Plugin 'unreadable_annotation (plugin-unreadable-annotation"),
        (
            "kinds",
            "nowhere",
            "These plugins do not work, and 'fal-core plugins list' says why:",
        ),
    ],
)
def test_error_for_a_name_mentions_the_broken_plugin(
    listing: Any, asked: str, name: str, plugin: str
) -> None:
    """The error for a name that a broken plugin would provide mentions the plugin."""
    assert listing[asked][name].startswith("UnknownNameError")
    assert plugin in listing[asked][name]


def test_denied_plugin_is_not_imported(tmp_path: Path) -> None:
    """The lists apply before the import: a plugin that is denied, or not allowed, never runs."""
    for name in ("one", "two", "three"):
        install(tmp_path / "site", name, HOST.format(name=name))
    seen = run(
        tmp_path / "site",
        """
        import json, sys
        from fal_core.plugins import load_plugins
        hosts = sorted(load_plugins().hosts)
        print(json.dumps([hosts, [name for name in sys.modules if name.endswith("_plugin")]]))
        """,
        FAL_CORE_PLUGINS="one, Plugin.Two",
        FAL_CORE_PLUGINS_DENY="plugin-two",
    )
    assert seen == [["one"], ["one_plugin"]]


def test_loading_leaves_heavy_modules_out(tmp_path: Path) -> None:
    """Loading plugins and checking a plain declaration imports nothing heavy."""
    install(
        tmp_path / "site",
        "light",
        ENVIRONMENT.format(kind="light", fields="x: tuple[str, ...] = ()"),
    )
    heavy = run(
        tmp_path / "site",
        """
        import json, sys
        from fal_core.declaring.vocabulary import parse_options
        parse_options({"kind": "light", "x": ["a"], "keep_alive": 3, "regions": ["us"]})
        heavy = ["cattrs", "importlib.metadata", "difflib", "asyncio", "cloudpickle", "click"]
        print(json.dumps([name for name in heavy if name in sys.modules]))
        """,
        FAL_CORE_PLUGINS="light",
    )
    assert heavy == []


def test_kind_current_is_there_without_installation() -> None:
    """The core's own kind needs no entry point and no permission."""
    found = run(
        SOURCE,
        """
        import json
        from fal_core.plugins import load_plugins
        plugins = load_plugins()
        print(json.dumps([sorted(plugins.environments), len(plugins.broken)]))
        """,
        FAL_CORE_PLUGINS="",
        FAL_CORE_PLUGINS_DENY="fal-core",
    )
    assert found == [["current"], 0]
    assert plugins.find_environment("current") is CurrentEnvironment
