"""
The hooks of fal-core: what a plugin may answer.

Hooks collect, resolve and observe. None changes a call on its way: retrying or
recording is done by a host around a host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import click

    from fal_core.calls import Call
    from fal_core.checks import Check
    from fal_core.environments import Environment
    from fal_core.errors import HostError
    from fal_core.hosts import Host
    from fal_core.machines import Device, Machine
    from fal_core.options import Gateway, HostOptions
    from fal_core.routes import RouteSignature, Server
    from fal_core.stores import Store

#: The integer that a plugin states as ``fal_core_api`` in its entry module.
API_VERSION = 1

hookspec: pluggy.HookspecMarker = pluggy.HookspecMarker("fal_core")
hookimpl: pluggy.HookimplMarker = pluggy.HookimplMarker("fal_core")


# Collect: every plugin's answer counts.


@hookspec
def fal_register_hosts() -> Iterable[type[Host[..., Any]]]:
    """Return the host classes of this plugin."""


@hookspec
def fal_register_environments() -> Iterable[type[Environment]]:
    """Return the environment classes of this plugin."""


@hookspec
def fal_register_stores() -> Iterable[Store]:
    """Return the places where what this plugin builds is kept. Stores that are equal count once."""


@hookspec
def fal_register_commands(cli: click.Group) -> None:
    """
    Add commands to *cli*, the group ``fal-core``: ``cli.add_command(command)``.

    A name of two words, as in ``cli.add_command(command, "env verify")``, adds one to the
    group ``env`` of the core.
    """


@hookspec
def fal_list_machines() -> Iterable[Machine]:
    """
    Return the machines that the plugin knows by name.

    They are for lists and suggestions; :func:`fal_resolve_machine` resolves them, and may
    know more. Once a plugin lists machines, a machine type that nobody knows is an error
    where it is declared.
    """


@hookspec
def fal_discover_devices() -> Iterable[Device]:
    """Return the accelerators of this machine that the plugin knows."""


@hookspec
def fal_health_checks() -> Iterable[Check]:
    """Return what ``fal-core doctor`` is to check."""


# Resolve: the first plugin with an answer wins, None passes.


@hookspec(firstresult=True)
def fal_resolve_machine(machine_type: str) -> Machine | None:
    """Return the resources that *machine_type* stands for."""


@hookspec(firstresult=True)
def fal_create_server(
    routes: Mapping[RouteSignature, Callable[..., Any]],
    gateway: Gateway,
    options: HostOptions,
) -> Server | None:
    """
    Return what serves *routes* until it is drained.

    It travels to where the function runs, and its packages with it; it imports
    nothing of fal_core there.

    A server may have a method ``build_metadata`` that returns what a deployed revision
    carries beside its code, as ``{"openapi": document}``.
    """


# Observe: called once per call, with a count for a batch.


@hookspec
def fal_call_started(call: Call, host: Host[..., Any], count: int) -> None:
    """Called before a call is launched."""


@hookspec
def fal_call_finished(
    call: Call, host: Host[..., Any], count: int, seconds: float, raised: bool
) -> None:
    """Called when a call has ended with an outcome, *seconds* after its launch."""


@hookspec
def fal_host_failed(call: Call, host: Host[..., Any], error: HostError) -> None:
    """Called when a call has ended without an outcome."""
