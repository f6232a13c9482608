"""Plugins that are made for a test, in this process and in one of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import fal_core
from fal_core.environments import Environment
from fal_core.hooks import hookimpl
from fal_core.hosts import Host

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


def claiming(capabilities: str) -> str:
    """Return a plugin whose host has *capabilities*."""
    return HOST.format(name="claiming").replace(
        "    def launch", f"    capabilities = {capabilities}\n\n    def launch"
    )


# What a broken plugin does, and what its error must say.
UNLOADABLE = {
    "claims_no_place": (
        "Capabilities(concurrency=0)",
        "OptionValueError: Option 'concurrency' must be at least 1",
    ),
    "kinds_as_text": (
        claiming("Capabilities(kinds='current')"),
        "OptionTypeError: Option 'capabilities.kinds' must be a frozenset of names, as in "
        "frozenset({'…'}), or None, not 'current' (str) (",
    ),
    "options_as_text": (
        claiming("Capabilities.of_workers(options='keep_alive')"),
        "Option 'capabilities.options' must be a frozenset of names",
    ),
    "number_as_text": (
        claiming("Capabilities(concurrency='4')"),
        "Option 'capabilities.concurrency' must be an integer, not '4' (str) (",
    ),
    "missing_import": ("import a_module_that_is_not_there", "a_module_that_is_not_there"),
    "exits": ("raise SystemExit(3)", "SystemExit"),
    "unknown_hook": ("@hookimpl\ndef fal_no_such_hook(): ...", "'fal_no_such_hook'"),
    "odd_argument": ("@hookimpl\ndef fal_call_started(call, nonsense): ...", "nonsense"),
    "raising_hook": ("@hookimpl\ndef fal_register_hosts(): raise KeyError('x')", "KeyError"),
    "same_name_twice": (
        HOST.format(name="twice").replace("[Place]", "[Place, Place]"),
        "twice",
    ),
}


PLACE_OF_WORKERS = """
from fal_core.pools import WorkerHost

@attrs.define(eq=False, slots=False)
class Place(WorkerHost):
    name: ClassVar[str] = "beginning"
    capabilities = Capabilities.of_workers(kinds=None)

    {methods}

@hookimpl
def fal_register_hosts():
    return [Place]
"""


def launching(launch: str) -> str:
    """Return a plugin whose host has the lines *launch* in place of its method."""
    return HOST.format(name="launching").replace("def launch(self, call, sink)", launch)


# The same, for plugins that can be loaded and break the contract.
INVALID = {
    "unmarked_hook": (
        HOST.format(name="unmarked").replace("@hookimpl\n", ""),
        "its function fal_register_hosts is not marked as a hook. Write '@hookimpl' above it.",
    ),
    "misspelt_hook": (
        HOST.format(name="misspelt")
        .replace("@hookimpl\n", "")
        .replace("def fal_register_hosts", "def fal_register_host"),
        "its function fal_register_host has a name that begins as those of hooks do, and is "
        "none of them. Did you mean 'fal_register_hosts'?",
    ),
    "no_hook": (
        "def fal_zzz(): ...",
        "its function fal_zzz has a name that begins as those of hooks do, and is none of "
        "them. Give it another name.",
    ),
    "async_hook": (
        "@hookimpl\nasync def fal_call_started(call): ...",
        "its hook fal_call_started is async, and nobody awaits it. Write "
        "'def fal_call_started'.",
    ),
    "lazy_hook": (
        "@hookimpl\ndef fal_call_started(call): yield",
        "its hook fal_call_started yields, so calling it does nothing. Leave 'yield' out.",
    ),
    "launch_without_sink": (
        launching("def launch(self, call)"),
        "Place.launch takes (self, call), and is called with (self, call, sink). Write "
        "'def launch(self, call, sink)'.",
    ),
    "begin_without_start": (
        PLACE_OF_WORKERS.format(methods="def begin(self): ..."),
        "Place.begin takes (self), and is called with (self, start). Write "
        "'def begin(self, start)'.",
    ),
    "begin_with_a_keyword": (
        PLACE_OF_WORKERS.format(methods="def begin(self, *, start): ..."),
        "Place.begin takes (self, *, start), and is called with (self, start). Write "
        "'def begin(self, start)'.",
    ),
    "static_reach_of_one": (
        PLACE_OF_WORKERS.format(
            methods="def begin(self, start): ...\n\n    reach = staticmethod(lambda worker: {})"
        ),
        "Place.reach takes (worker), and is called with (worker, urls). Write "
        "'def reach(self, worker, urls)'.",
    ),
    "static_launch_of_self": (
        launching("@staticmethod\n    def launch(self, call, sink)"),
        "Place.launch takes (self, call, sink), and is called with (call, sink).",
    ),
    "shared_by_of_the_class": (
        PLACE_OF_WORKERS.format(
            methods="def begin(self, start): ...\n    shared_by = classmethod(lambda cls: {})"
        ),
        "Place.shared_by takes (cls), and is called with (self, call).",
    ),
    "from_url_of_an_instance": (
        launching("def from_url(self, url): ...\n\n    def launch(self, call, sink)"),
        "Place.from_url takes (self, url), and is called with (url). Write "
        "'@classmethod def from_url(cls, url)'.",
    ),
    "async_launch": (
        launching("async def launch(self, call, sink)"),
        "Place.launch is async, so calling it does nothing. Write "
        "'def launch(self, call, sink)' that runs when it is called.",
    ),
    "check_without_origin": (
        launching(
            "def check(self, environment, options): ...\n\n    def launch(self, call, sink)"
        ),
        "Place.check takes (self, environment, options), and is called with "
        "(self, environment, options, gateway, origin).",
    ),
    "build_without_log": (
        ENVIRONMENT.format(kind="quiet", fields="def build(self): ..."),
        "Kind.build takes (self), and is called with (self, log, cancelled).",
    ),
    "listed_capabilities": (
        claiming("{'kinds': None}"),
        "The capabilities of Place are {'kinds': None}. Write "
        "'capabilities: ClassVar[Capabilities] = Capabilities(…)'.",
    ),
    "class_alone": (
        HOST.format(name="alone").replace("[Place]", "Place"),
        "its hook fal_register_hosts returned the class Place. Write 'return [Place]'.",
    ),
    "no_iterable": (
        "@hookimpl\ndef fal_register_hosts(): return None",
        "its hook fal_register_hosts returned None. Return a list of classes.",
    ),
    "unknown_claim": (
        claiming("Capabilities(kinds=None, options=frozenset({'keep_alife'}))"),
        "The capabilities of Place claim option 'keep_alife'. No documented option is called "
        "so. Did you mean 'keep_alive'?",
    ),
    "own_claim": (
        OPTIONS.format(name="own-claim", option="tape: str | None = None").replace(
            "options = Mine",
            "options = Mine\n    capabilities = Capabilities(options=frozenset({'tape'}))",
        ),
        "It is one of its own, and those are always included: leave it out.",
    ),
    "demanding_host": (
        HOST.format(name="demanding").replace(
            "    def launch", "    address: str\n\n    def launch"
        ),
        "Place cannot be made of its name alone, as address has no default. Give it one, or "
        "write from_url, which returns the host of a URL.",
    ),
    "unmarked_from_url": (
        HOST.format(name="unmarked-url").replace(
            "    def launch",
            "    def from_url(self, url):\n        return self\n\n    def launch",
        ),
        "Place.from_url takes (self, url), and is called with (url). Write '@classmethod def "
        "from_url(cls, url)'.",
    ),
    "without_version": ("del fal_core_api", "does not define fal_core_api"),
    "odd_version": ("fal_core_api = '1'", "must be an integer"),
    "true_version": ("fal_core_api = True", "must be an integer"),
    "newer_version": ("fal_core_api = 99", "Upgrade fal-core"),
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
            "    capabilities = Capabilities(kinds=None, detach=True)\n    def launch",
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
    "default_of_no_text": (
        OPTIONS.format(name="untyped", option="partition: str = None"),
        "Mine: the default of option 'partition' must be a string, and is None. Give it "
        "another default or type.",
    ),
    "default_of_a_wrong_item": (
        ENVIRONMENT.format(kind="untyped", fields="layers: tuple[str, ...] = ('a', 3)"),
        "Kind: the default of option 'layers[1]' must be a string, and is 3 (int).",
    ),
    "made_default_of_a_wrong_type": (
        ENVIRONMENT.format(kind="made", fields="layers: str = attrs.field(factory=list)"),
        "Kind: the default of option 'layers' must be a string, and is [] (list).",
    ),
    "a_name_of_the_core": (
        HOST.format(name="named") + ENVIRONMENT.format(kind="current", fields=""),
        "it provides the kind of environment 'current', which is that of core (",
    ),
}


GOOD = {
    "good": (
        OPTIONS.format(name="good", option="queue: str | None = None\n    patience: float = 3")
        + ENVIRONMENT.format(kind="good", fields="layers: tuple[str, ...] = ('a',)")
    ),
    "static": PLACE_OF_WORKERS.format(
        methods="reach = staticmethod(lambda at, urls: urls)\n    def begin(self, start): ..."
    ),
    "left": HOST.format(name="shared") + ENVIRONMENT.format(kind="left", fields=""),
    "right": HOST.format(name="shared") + ENVIRONMENT.format(kind="right", fields=""),
}


def plugin(
    hosts: Iterable[type[Host[..., Any]]] = (),
    environments: Iterable[type[Environment]] = (),
    **hooks: Callable[..., Any],
) -> ModuleType:
    """Make a plugin that provides *hosts* and *environments*."""
    made: Any = ModuleType("plugin")
    made.fal_core_api = 1
    made.fal_register_hosts = hookimpl(lambda: hosts)
    made.fal_register_environments = hookimpl(lambda: environments)
    for name, function in hooks.items():
        setattr(made, name, hookimpl(function))
    return made  # type: ignore[no-any-return]  # a module


def install(site: Path, name: str, source: str, *, version: str = "1.0") -> None:
    """Put a plugin distribution into *site*, as an installer would."""
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
