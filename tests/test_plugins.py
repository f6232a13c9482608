"""
Plugins: found without their import, loaded each for itself, and named in every error.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable
from importlib.metadata import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import attrs
import pytest

import fal_core
from fal_core import function as isolated
from fal_core.environments import CurrentEnvironment, Environment
from fal_core.errors import OptionError, PluginError, UnknownNameError
from fal_core.events import Sink
from fal_core.hooks import hookimpl
from fal_core.hosts import Execution, Host
from fal_core.plugins import installed as plugins
from fal_core.plugins.catalog import DOCUMENTED
from fal_core.plugins.entry_points import EntryPoint, find_entry_points, keeps_out
from fal_core.testing import InProcessHost

SOURCE = Path(plugins.__file__).parents[1]

#: Stands for what is said of a known name, which the installed fal-core decides.
ADD = "add it"

PREAMBLE = """
from __future__ import annotations
from typing import ClassVar
import attrs
from fal_core.environments import CurrentEnvironment, Environment
from fal_core.hooks import hookimpl
from fal_core.hosts import Host
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
    "without_version": ("del fal_core_api", "states no fal_core_api"),
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
    What a process sees that has every broken plugin installed, and some that work.
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
    A broken plugin is listed under its name and its distribution, with what is wrong.
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
    A name of two plugins is an error that names both, when it is asked for.
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
    Whoever asks for a name that a broken plugin would provide reads of the plugin.
    """
    assert listing[asked][name].startswith("UnknownNameError")
    assert plugin in listing[asked][name]


def test_denied_plugin_is_not_imported(tmp_path: Path) -> None:
    """
    The lists apply before the import: what is denied, or not allowed, never runs.
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


def test_entry_points_are_those_that_the_standard_library_finds() -> None:
    """
    The quick scan and importlib.metadata agree on what is installed.
    """
    expected = {
        (entry.name, entry.value, entry.dist.name, entry.dist.version)
        for entry in importlib.metadata.entry_points(group="fal_core")
        if entry.dist is not None
    }
    assert ("core", "fal_core.plugins.built_in", "fal-core") in {
        entry[:3] for entry in expected
    }
    assert {
        (entry.name, entry.value, entry.distribution, entry.version)
        for entry in find_entry_points()
    } == expected


def test_entry_points_of_every_form_are_found(tmp_path: Path) -> None:
    """
    Objects, extras, comments, egg-info and archives are read as by the standard library.
    """
    import zipfile

    first, second, archive = tmp_path / "first", tmp_path / "second", tmp_path / "third.zip"
    texts = {
        first
        / "a_b-2.0.dist-info": "[console_scripts]\nx = y:z\n\n[fal_core]\n# none\na=m.n:o.p\n",
        second / "a_b-1.0.dist-info": "[fal_core]\nold = m\n",
        second / "other.egg-info": "[fal_core]\n  b  =  m.n [extra]\n[other]\nc = d\n",
    }
    for info, text in texts.items():
        info.mkdir(parents=True)
        (info / "entry_points.txt").write_text(text)
        name, _, version = info.stem.partition("-")
        metadata = "PKG-INFO" if info.suffix == ".egg-info" else "METADATA"
        (info / metadata).write_text(f"Name: {name}\nVersion: {version or '0'}\n")
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("zipped-3.dist-info/METADATA", "Name: zipped\nVersion: 3\n")
        file.writestr("zipped-3.dist-info/entry_points.txt", "[fal_core]\nz = zipped\n")
    path = [str(first), str(tmp_path / "missing"), str(second), str(archive)]

    found = {(entry.name, entry.value) for entry in find_entry_points(path)}

    assert found == {("a", "m.n:o.p"), ("b", "m.n"), ("z", "zipped")}
    distributions = importlib.metadata.distributions(path=path)
    names: set[str] = set()
    expected = set()
    for distribution in distributions:
        if distribution.metadata["Name"] not in names:
            names.add(distribution.metadata["Name"])
            expected |= {
                (entry.name, entry.value.partition(" [")[0])
                for entry in distribution.entry_points
                if entry.group == "fal_core"
            }
    assert found == expected


@pytest.mark.parametrize(
    ("allowed", "denied", "expected"),
    [
        (None, "", None),
        ("", "", "FAL_CORE_PLUGINS"),
        ("ray", "", None),
        ("fal_host.ray", "", None),
        ("local,  ray ", "", None),
        ("local", "", "FAL_CORE_PLUGINS"),
        (None, "Fal-Host-Ray", "FAL_CORE_PLUGINS_DENY"),
        ("ray", "ray", "FAL_CORE_PLUGINS_DENY"),
    ],
)
def test_lists_name_entry_points_or_distributions(
    allowed: str | None, denied: str, expected: str | None
) -> None:
    """
    Both lists hold either name in any spelling; what is on both is denied.

    It is told which list keeps a plugin out.
    """
    variables = {"FAL_CORE_PLUGINS_DENY": denied}
    if allowed is not None:
        variables["FAL_CORE_PLUGINS"] = allowed
    entry = EntryPoint("ray", "fal_host_ray", "fal-host-ray", "1.0")
    assert keeps_out(entry, variables) == expected


# -- In this process -------------------------------------------------------------


@attrs.define(eq=False, slots=False)
class Placed(Host[..., Any]):
    """
    A host that takes any address and runs nothing.
    """

    name: ClassVar[str] = "placed"

    address: str = ""
    closed: bool = False

    @classmethod
    def from_url(cls, url: str) -> Placed:
        return cls(url)

    def launch(self, call: Any, sink: Sink) -> Execution:
        raise AssertionError(call, sink)

    def close(self) -> None:
        self.closed = True


def plugin(
    hosts: Iterable[type[Host[..., Any]]] = (),
    environments: Iterable[type[Environment]] = (),
    **hooks: Callable[..., Any],
) -> ModuleType:
    """
    Make a plugin that provides *hosts* and *environments*.
    """
    made: Any = ModuleType("plugin")
    made.fal_core_api = 1
    made.fal_register_hosts = hookimpl(lambda: hosts)
    made.fal_register_environments = hookimpl(lambda: environments)
    for name, function in hooks.items():
        setattr(made, name, hookimpl(function))
    return made  # type: ignore[no-any-return]  # a module


def test_host_is_shared_by_everyone_who_writes_the_same() -> None:
    """
    One name or URL is one host, and another URL another.
    """
    with plugins.registered(plugin([Placed])):
        assert plugins.find_host("placed") is plugins.find_host("placed")
        assert plugins.find_host("placed://a") is plugins.find_host("placed://a")
        assert plugins.find_host("placed://a") is not plugins.find_host("placed://b")
        host: Any = plugins.find_host("placed://a")
        assert host.address == "placed://a"


def test_many_threads_share_one_host() -> None:
    """
    Threads that ask at once for one host get one.
    """
    from concurrent.futures import ThreadPoolExecutor

    with plugins.registered(plugin([Placed])), ThreadPoolExecutor(16) as executor:
        found = list(executor.map(plugins.find_host, ["placed://x"] * 200))
    assert len(set(found)) == 1


def test_forked_child_makes_hosts_of_its_own() -> None:
    """
    A forked child never uses a host that its parent made, and can ask for one.
    """
    with plugins.registered(plugin([Placed])):
        host = plugins.find_host("placed")
        with plugins._lock:
            child = os.fork()
            if child == 0:
                os._exit(0 if plugins.find_host("placed") is not host else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert plugins.find_host("placed") is host


def test_registered_plugin_is_gone_after_the_context() -> None:
    """
    A plugin registered for a test leaves no name, and its hosts are closed.
    """
    before = plugins.load_plugins()
    with plugins.registered(plugin([Placed])) as inside:
        assert inside.hosts["placed"] is Placed
        host: Any = plugins.find_host("placed")
    assert host.closed
    assert plugins.load_plugins() is before
    with pytest.raises(UnknownNameError, match="No host is called 'placed'"):
        plugins.find_host("placed")


def test_registered_plugins_nest() -> None:
    """
    Contexts nest; a name that is taken is refused, and its first bearer stays.
    """
    with plugins.registered(plugin([Placed])):
        with plugins.registered(plugin()):
            assert plugins.find_host("placed") is plugins.find_host("placed")
        with (
            pytest.raises(PluginError, match=r"'registered-1'.*is loaded already"),
            plugins.registered(plugin(), "registered-1"),
        ):
            pytest.fail("the context was entered")
        assert plugins.load_plugins().hosts["placed"] is Placed


def test_registered_broken_plugin_is_refused_at_once() -> None:
    """
    Registering a broken plugin raises what is wrong with it, and changes nothing.
    """
    before = plugins.load_plugins()
    broken = plugin()
    del broken.fal_core_api
    with (
        pytest.raises(PluginError, match=r"'mine'.*states no fal_core_api"),
        plugins.registered(broken, "mine"),
    ):
        pytest.fail("the context was entered")
    assert plugins.load_plugins() is before


def test_observers_are_known_without_a_call() -> None:
    """
    Whether a plugin sees calls is known, so that calls without observers cost nothing.
    """
    with plugins.registered(plugin()) as without:
        assert without.has_observers == plugins.load_plugins().has_observers
    seen: list[object] = []
    observer = plugin(fal_host_failed=lambda call, host, error: seen.append(error))
    with plugins.registered(observer) as found:
        assert found.has_observers
        found.hook.fal_host_failed(call=None, host=None, error="failed")
    assert seen == ["failed"]


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
    A known name says how its plugin is had, if it is; a near miss names the near one.

    An extra is suggested only where the installed fal-core has it.
    """
    name, _, _ = name.partition(":")
    if hint is ADD:
        extras = {extra for known in DOCUMENTED.values() for extra in [known.get(name)]}
        extras &= set(metadata("fal-core").get_all("Provides-Extra") or ())
        hint = "The name is known, but no installed plugin provides it."
        for extra in extras:
            hint = f"Install the extra {extra!r} of fal-core."
    installed = [entry for entry in find_entry_points() if entry.name != "serverless"]
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
    """
    A plugin that is installed, and that a list keeps out, is not told to be missing.
    """
    away = EntryPoint("away", "fal_host_away", "fal-host-away", "1.0")
    monkeypatch.setattr(plugins, "find_entry_points", lambda: (away,))
    monkeypatch.setenv(variable, value)
    with plugins.registered(plugin()), pytest.raises(UnknownNameError) as caught:
        plugins.find_host("away")
    assert str(caught.value).endswith(
        f"Plugin 'away (fal-host-away 1.0)' is installed, but {variable} {verb} it."
    )


def test_name_of_the_other_role_says_which_it_is() -> None:
    """
    A kind that is asked for as a host, or a host as a kind, says what it is.
    """
    with pytest.raises(UnknownNameError, match="a kind of environment: write kind='current'"):
        plugins.find_host("current")
    with pytest.raises(UnknownNameError, match="It is a host: write host='local'"):
        plugins.find_environment("local")


def test_an_image_without_a_kind_for_it_says_what_it_implies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    ``image=`` implies kind ``container``; where no plugin has it, the error says both.
    """
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
    """
    What the code calls an extra of fal-core is one that fal-core has.
    """
    package = Path(fal_core.__file__).parent
    named = {
        (extra, path.name)
        for path in sorted(package.rglob("*.py"))
        for extra in re.findall(r"the extra '([a-z-]+)'", path.read_text("utf-8"))
    }
    assert named
    offered = metadata("fal-core").get_all("Provides-Extra") or ()
    assert [each for each in sorted(named) if each[0] not in offered] == []


def test_host_without_address_refuses_one() -> None:
    """
    A URL that a host cannot take is an error of who wrote it, and no host is kept.
    """

    @attrs.define(eq=False, slots=False)
    class Fixed(Host[..., Any]):
        name: ClassVar[str] = "fixed"

        def launch(self, call: Any, sink: Sink) -> Execution:
            raise AssertionError(call, sink)

    with plugins.registered(plugin([Fixed])):
        with pytest.raises(OptionError, match="takes no address"):
            plugins.find_host("fixed://somewhere")
        assert "fixed://somewhere" not in plugins._shared_hosts


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
