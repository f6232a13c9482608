"""
Loading: each plugin apart from the others; errors are listed under its name.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import fal_core
from fal_core.environments import CurrentEnvironment
from fal_core.plugins import installed as plugins

SOURCE = Path(fal_core.__file__).parents[1]


PREAMBLE = """
from __future__ import annotations
from typing import ClassVar
import attrs
from fal_core.environments import CurrentEnvironment, Environment
from fal_core.hooks import hookimpl
from fal_core.hosts import Capabilities, Host
from fal_core.options import HostOptions

fal_core_api = 1
"""


HOST = """
@attrs.define(eq=False, slots=False)
class Place(Host):
    name: ClassVar[str] = {name!r}

    def launch(self, call, sink):
        raise AssertionError

@hookimpl
def fal_register_hosts():
    return [Place]
"""


ENVIRONMENT = """
@attrs.frozen(kw_only=True)
class Kind(CurrentEnvironment):
    kind: ClassVar[str] = {kind!r}
    {fields}

@hookimpl
def fal_register_environments():
    return [Kind]
"""


OPTIONS = """
@attrs.frozen(kw_only=True)
class Mine(HostOptions):
    {option}
""" + HOST.replace("    def launch", "    options = Mine\n\n    def launch")


# What a broken plugin does, and what its error must say.
BROKEN = {
    "missing_import": ("import a_module_that_is_not_there", "a_module_that_is_not_there"),
    "exits": ("raise SystemExit(3)", "SystemExit"),
    "without_version": ("del fal_core_api", "does not define fal_core_api"),
    "odd_version": ("fal_core_api = '1'", "must be an integer"),
    "true_version": ("fal_core_api = True", "must be an integer"),
    "newer_version": ("fal_core_api = 99", "Upgrade fal-core"),
    "unknown_hook": ("@hookimpl\ndef fal_no_such_hook(): ...", "'fal_no_such_hook'"),
    "odd_argument": ("@hookimpl\ndef fal_call_started(call, nonsense): ...", "nonsense"),
    "raising_hook": ("@hookimpl\ndef fal_register_hosts(): raise KeyError('x')", "KeyError"),
    "no_iterable": ("@hookimpl\ndef fal_register_hosts(): return None", "TypeError"),
    "no_class": ("@hookimpl\ndef fal_register_hosts(): return [3]", "not a subclass of Host"),
    "abstract_host": (
        HOST.format(name="abstract").replace("def launch", "def start"),
        "does not write launch",
    ),
    "undecorated_host": (
        HOST.format(name="undecorated").replace("@attrs.define(eq=False, slots=False)\n", ""),
        "not decorated",
    ),
    "nameless_host": (HOST.format(name="Not A Scheme"), "no usable name"),
    "unhashable_host": (
        HOST.format(name="unhashable").replace("eq=False, ", ""),
        "cannot be hashed",
    ),
    "unattachable_host": (
        HOST.format(name="unattachable").replace(
            "    def launch",
            "    capabilities = Capabilities(detach=True)\n    def launch",
        ),
        "does not derive from DetachingHost",
    ),
    "odd_options": (
        HOST.format(name="odd").replace("    def launch", "    options = dict\n    def launch"),
        "not a subclass of HostOptions",
    ),
    "mutable_environment": (
        """
@attrs.define
class Kind(Environment):
    kind: ClassVar[str] = "mutable"
    key = ""
    build = CurrentEnvironment.build
    extend = CurrentEnvironment.extend

@hookimpl
def fal_register_environments():
    return [Kind]
""",
        "not frozen",
    ),
    "undecorated_environment": (
        ENVIRONMENT.format(kind="undecorated", fields="").replace(
            "@attrs.frozen(kw_only=True)\n", ""
        ),
        "not decorated",
    ),
    "kindless_environment": (ENVIRONMENT.format(kind="", fields=""), "no usable kind"),
    "unreadable_annotation": (
        ENVIRONMENT.format(kind="unreadable", fields="extra: NotImported = None"),
        "NotImported",
    ),
    "option_of_a_host": (
        ENVIRONMENT.format(kind="greedy", fields="machine_type: str | None = None"),
        "'machine_type'",
    ),
    "reserved_option": (
        ENVIRONMENT.format(kind="greedy", fields="host: str | None = None"),
        "'host'",
    ),
    "redefined_option": (
        OPTIONS.format(name="redefined", option="keep_alive: str | None = None"),
        "redefines option 'keep_alive'",
    ),
    "z_other_type": (
        OPTIONS.format(name="retyped", option="queue: int | None = None"),
        "redefines option 'queue'",
    ),
    "z_option_of_a_kind": (
        OPTIONS.format(name="kindly", option="layers: int | None = None"),
        "'layers'",
    ),
    "option_without_default": (
        OPTIONS.format(name="demanding", option="partition: str"),
        "option 'partition' has no default",
    ),
    "same_name_twice": (
        HOST.format(name="twice").replace("[Place]", "[Place, Place]"),
        "twice",
    ),
}


GOOD = {
    "good": (
        OPTIONS.format(name="good", option="queue: str | None = None")
        + ENVIRONMENT.format(kind="good", fields="layers: tuple[str, ...] = ()")
    ),
    "left": HOST.format(name="shared") + ENVIRONMENT.format(kind="left", fields=""),
    "right": HOST.format(name="shared") + ENVIRONMENT.format(kind="right", fields=""),
}


def install(site: Path, name: str, source: str, *, version: str = "1.0") -> None:
    """
    Put a plugin distribution into *site*, as an installer would.
    """
    site.mkdir(parents=True, exist_ok=True)
    module = f"{name}_plugin"
    (site / f"{module}.py").write_text(PREAMBLE + source)
    info = site / f"plugin_{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: plugin-{name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[fal_core]\n{name} = {module}\n")


def run(site: Path, program: str, **variables: str) -> Any:
    """
    Run *program* in a Python of its own with *site* first on its path.

    Returns:
        What it printed, as JSON.
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        env={**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{SOURCE}", **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def listing(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """
    The plugins of a process that has every broken plugin installed, and some that work.
    """
    site = tmp_path_factory.mktemp("plugins") / "site"
    names = {**{name: source for name, (source, _) in BROKEN.items()}, **GOOD}
    for name, source in names.items():
        install(site, name, source)
    return run(
        site,
        """
        import json
        from fal_core.plugins import *
        from fal_core.plugins import find_environment, find_host

        def attempt(find, name):
            try:
                return find(name).__module__
            except Exception as error:
                return f"{type(error).__name__}: {error}"

        plugins = load_plugins()
        print(json.dumps({
            "hosts": sorted(plugins.hosts),
            "environments": sorted(plugins.environments),
            "loaded": [plugin.entry.name for plugin in plugins.loaded],
            "broken": {error.plugin: str(error) for error in plugins.broken},
            "descriptions": {str(each.entry): each.problem for each in describe_plugins()},
            "asked": {
                name: attempt(find_host, name) for name in ("good", "shared", "exits", "odd")
            },
            "kinds": {
                name: attempt(find_environment, name)
                for name in ("left", "unreadable", "nowhere")
            },
            "hooks": sorted(
                implementation.plugin_name
                for implementation in plugins.hook.fal_register_hosts.get_hookimpls()
            ),
        }))
        """,
        FAL_CORE_PLUGINS=",".join(names),
    )


@pytest.mark.parametrize("name", BROKEN)
def test_broken_plugin_is_named_with_its_reason(listing: Any, name: str) -> None:
    """
    A broken plugin is listed under its name and its distribution, with its error.
    """
    label = f"{name} (plugin-{name.replace('_', '-')} 1.0)"
    assert BROKEN[name][1] in listing["broken"][label]
    assert label in listing["broken"][label]
    assert listing["descriptions"][label] in listing["broken"][label]


def test_broken_plugins_break_nothing_else(listing: Any) -> None:
    """
    Beside broken plugins the others work, and no hook of a broken one is called.
    """
    assert set(listing["loaded"]) == {"core", *GOOD}
    assert listing["hosts"] == ["good"]
    assert listing["environments"] == ["current", "good", "left", "right"]
    assert len(listing["broken"]) == len(BROKEN) + 1
    assert listing["asked"]["good"] == "good_plugin"
    assert listing["kinds"]["left"] == "left_plugin"
    assert [name.partition(" ")[0] for name in listing["hooks"]] == ["good", "left", "right"]


def test_name_that_two_plugins_claim_is_refused_with_both(listing: Any) -> None:
    """
    Asking for a name that two plugins claim is an error that names both.
    """
    error = listing["asked"]["shared"]
    assert error.startswith("PluginError")
    assert "left (plugin-left 1.0)" in error
    assert "right (plugin-right 1.0)" in error
    assert "host 'shared'" in error
    assert error.partition(": ")[2] in listing["broken"].values()


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
    """
    The error for a name that a broken plugin would provide mentions the plugin.
    """
    assert listing[asked][name].startswith("UnknownNameError")
    assert plugin in listing[asked][name]


def test_denied_plugin_is_not_imported(tmp_path: Path) -> None:
    """
    The lists apply before the import: a plugin that is denied, or not allowed, never runs.
    """
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
    """
    Loading plugins and checking a plain declaration imports nothing heavy.
    """
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
    """
    The core's own kind needs no entry point and no permission.
    """
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
