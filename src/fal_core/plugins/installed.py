"""Plugins: what is installed, what it provides, and what is wrong with it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fal_core.environments import Environment
from fal_core.errors import FalCoreError, OptionError, PluginError
from fal_core.hosts import Host
from fal_core.plugins import validation
from fal_core.plugins.catalog import MODULES_OF_EXTRAS, Plugins
from fal_core.plugins.entry_points import EntryPoint, find_entry_points, keeps_out
from fal_core.plugins.hook_calls import HookCalls
from fal_core.plugins.loaders import Loader, PluginDescription
from fal_core.reprs import in_one_line

_OBSERVERS = ("fal_call_started", "fal_call_finished", "fal_host_failed")
_CORE = EntryPoint("core", "fal_core.plugins.built_in", "fal-core")


# Shared by all threads of this process. A forked child makes hosts of its own.
_lock = threading.RLock()
_plugins: Plugins | None = None
_extras: tuple[tuple[EntryPoint, object], ...] = ()
_shared_hosts: dict[str, Host[..., Any]] = {}


def load_plugins() -> Plugins:
    """Return the plugins of this process; the first call loads them."""
    global _plugins
    plugins = _plugins
    if plugins is None:
        with _lock:
            plugins = _plugins
            if plugins is None:
                plugins = _plugins = _load()
    return plugins


def find_environment(kind: str) -> type[Environment]:
    """
    Return the environment class of *kind*.

    Raises:
        UnknownNameError: No working plugin provides it.

        PluginError: Several plugins claim it.
    """
    found: type[Environment] = load_plugins().find("kind of environment", kind)
    return found


def find_host(name_or_url: str) -> Host[..., Any]:
    """
    Return the host of a name or a URL, as in ``local`` or ``ray://head:10001``.

    The same string gives the same host throughout this process.

    Raises:
        UnknownNameError: No working plugin provides it.

        PluginError: Several plugins claim it.

        OptionError: The URL does not fit the host, or the host needs one.
    """
    host = _shared_hosts.get(name_or_url)
    if host is None:
        with _lock:
            host = _shared_hosts.get(name_or_url)
            if host is None:
                host = _shared_hosts[name_or_url] = make_host(name_or_url)
    return host


def make_host(name_or_url: str) -> Host[..., Any]:
    """
    Return a new host of a name or a URL, which the caller owns and closes.

    Raises:
        As :func:`find_host` does.
    """
    name, separator, _ = name_or_url.partition("://")
    cls: type[Host[..., Any]] = load_plugins().find("host", name)
    if separator:
        return _from_url(cls, name_or_url)
    if missing := validation.mandatory_fields(cls):
        raise OptionError(
            f"Host {name!r} is not used by its name alone: it needs {' and '.join(missing)}. "
            f"Write a URL, as in {f'{name}://…'!r}."
        )
    return cls()


def _from_url(cls: type[Host[..., Any]], url: str) -> Host[..., Any]:
    try:
        host: object = cls.from_url(url)
    except FalCoreError:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {in_one_line(error)}"
        raise OptionError(
            f"Host {cls.name!r} cannot be made of {url!r}: its from_url raised {said}."
        ) from error
    if not isinstance(host, Host):
        problem = (
            f"its from_url returned {type(host).__name__.removesuffix('Type')} for {url!r}."
        )
        raise PluginError(
            cls.name, f"{problem} Return the host, as in 'return cls(…)'.", "Host"
        )
    return host


def describe_plugins() -> tuple[PluginDescription, ...]:
    """Return all plugins, each once: those that were loaded, then those that could not be."""
    return load_plugins().describe()


@contextmanager
def registered(plugin: object, name: str | None = None) -> Iterator[Plugins]:
    """
    Add *plugin* to the plugins of this process while the context lasts, for tests.

    Hosts that :func:`find_host` makes meanwhile are closed at its end.

    Raises:
        PluginError: The plugin is broken.
    """
    global _plugins, _extras, _shared_hosts
    with _lock:
        name = name or f"registered-{len(_extras) + 1}"
        before = (_plugins, _extras, _shared_hosts)
        _extras = (*_extras, (EntryPoint(name, ""), plugin))
        _plugins, _shared_hosts = None, dict(_shared_hosts)
    try:
        plugins = load_plugins()
        for error in plugins.broken:
            if error.plugin == name:
                raise error
        yield plugins
    finally:
        with _lock:
            made = [host for key, host in _shared_hosts.items() if key not in before[2]]
            _plugins, _extras, _shared_hosts = before
        for host in made:
            host.close()


def _load() -> Plugins:
    loader = Loader()
    # Those of fal-core come first: a plugin that claims what is theirs is the broken one.
    installed = sorted(find_entry_points(), key=lambda entry: not _is_own(entry))
    # The core's own needs neither to be installed nor to be allowed.
    core = next((entry for entry in installed if entry.value == _CORE.value), _CORE)
    loader.add(core, is_own=True)
    kept_out: dict[EntryPoint, str] = {}
    for entry in installed:
        if entry.value == _CORE.value:
            continue
        variable = keeps_out(entry)
        if variable is None:
            loader.add(entry, is_own=_is_own(entry))
        else:
            kept_out[entry] = variable
    for entry, plugin in _extras:
        loader.add(entry, plugin)
    conflicts = loader.conflicts()
    classes = {
        claim: next(iter(sides.values()))
        for claim, sides in loader.classes.items()
        if claim not in conflicts
    }
    hooks = HookCalls(loader.manager)
    return Plugins(
        hosts={name: cls for (role, name), cls in classes.items() if role == "host"},
        environments={name: cls for (role, name), cls in classes.items() if role != "host"},
        loaded=tuple(loader.loaded),
        broken=(*loader.broken, *conflicts.values()),
        hooks=hooks,
        has_observers=any(hooks.each(name) for name in _OBSERVERS),
        discarded=loader.discarded,
        conflicts=conflicts,
        offered=loader.offered,
        kept_out=kept_out,
    )


def _is_own(entry: EntryPoint) -> bool:
    """Tell whether *entry* is a plugin of fal-core."""
    return entry.value.partition(":")[0].partition(".")[0] in MODULES_OF_EXTRAS


def _forget_hosts() -> None:
    global _lock, _shared_hosts
    # A thread that does not exist in the child may have held the lock.
    _lock, _shared_hosts = threading.RLock(), {}


os.register_at_fork(after_in_child=_forget_hosts)
