"""
The bodies of ``Host.run``, ``Host.spawn``, ``Host.parse_options``, and of what asks plugins
about machines.

These belong to the contract, and use what is built on it.
This module is the only one that the contract imports from above.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from fal_core.calls import AuthMode
from fal_core.conversion import structure
from fal_core.declaring import vocabulary
from fal_core.declaring.known_options import nearest_name
from fal_core.errors import FalCoreError
from fal_core.functions import IsolatedFunction
from fal_core.hosts import Host
from fal_core.machines import Device, Machine, UnknownMachineError
from fal_core.options import HostOptions, Options
from fal_core.plugins import load_plugins

ArgsT = ParamSpec("ArgsT")
ReturnT = TypeVar("ReturnT", covariant=True)


def parse_options(host: type[Host[..., Any]], config: Mapping[str, Any]) -> Options:
    """Sort and check *config*, each option as *host* spells it."""
    written = vocabulary.spread_if_needed(config)
    parsed = (host.parse_key(key, value) for key, value in written.items())
    # A wrapper host computes its options; those of the inner host are known.
    own = host.options if isinstance(host.options, type) else HostOptions
    return vocabulary.parse_options(dict(parsed), own)


def isolate(
    host: Host[ArgsT, ReturnT],
    func: Callable[ArgsT, ReturnT],
    options: Options,
    application_name: str | None,
    application_auth_mode: AuthMode | None,
) -> IsolatedFunction[ArgsT, ReturnT]:
    """
    Return *func* as an isolated function that runs on *host*.

    Raises:
        OptionError: There is no such way to authorise callers.
    """
    structure(application_auth_mode, AuthMode | None, "application_auth_mode")
    return IsolatedFunction(
        host, func, options, app_name=application_name, app_auth=application_auth_mode
    )


def resolve_machine(name: str) -> Machine:
    """
    Ask the plugins for the machine that *name* stands for.

    Raises:
        UnknownMachineError: None of them knows it.

        PluginError: None of them knows it, and one of them failed.
    """
    machine: Machine | None = load_plugins().hooks.resolve(
        "fal_resolve_machine", machine_type=name
    )
    if machine is None:
        raise _unknown_machine(name)
    return machine


def refuse_machine(name: str) -> UnknownMachineError | None:
    """
    Return the error for a machine type that no plugin knows, if any plugin lists those that
    it knows.
    """
    if not _has_catalogue():
        return None
    try:
        resolve_machine(name)
    except UnknownMachineError as error:
        return error
    return None


def list_machines() -> list[Machine]:
    """
    Ask the plugins for the machines that they list. Of two of a name, the one is listed
    that :func:`resolve_machine` finds: that of the plugin that was loaded last.
    """
    named: dict[str, Machine] = {}
    for machine in load_plugins().hooks.collect("fal_list_machines", passing=FalCoreError):
        named[machine.name] = machine
    return list(named.values())


def _has_catalogue() -> bool:
    """Tell whether a plugin lists machines, beside the core's own."""
    return len(load_plugins().hooks.each("fal_list_machines")) > 1


def _unknown_machine(name: str) -> UnknownMachineError:
    known = [machine.name for machine in list_machines()]
    # Names of models are often written in small letters.
    by_letters = {each.casefold(): each for each in known}
    near = by_letters.get(nearest_name(name.casefold(), (by_letters,)) or "")
    hint = (
        "Add it to [tool.fal-core.machines] of pyproject.toml, which fal-machines reads, or by "
        "a plugin that answers the hook fal_resolve_machine."
        if _has_catalogue()
        else "`pip install 'fal-core[machines]'` brings more, or write a plugin that answers "
        "the hook fal_resolve_machine."
    )
    return UnknownMachineError(name, near, tuple(known), hint)


def can_discover_devices() -> bool:
    """Tell whether a plugin finds accelerators."""
    return bool(load_plugins().hooks.each("fal_discover_devices"))


def discover_devices() -> list[Device]:
    """Ask the plugins for the accelerators of this machine."""
    return list(load_plugins().hooks.collect("fal_discover_devices"))
