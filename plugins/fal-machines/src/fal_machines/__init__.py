"""Machine types, and the GPUs of this machine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fal_core.hooks import hookimpl

if TYPE_CHECKING:
    import click

    from fal_core.checks import Check
    from fal_core.machines import Device, Machine

fal_core_api = 1


@hookimpl
def fal_list_machines() -> Iterable[Machine]:
    """List the machine types of the catalogue."""
    from fal_machines.catalogues import known_machines

    return known_machines().values()


@hookimpl
def fal_resolve_machine(machine_type: str) -> Machine | None:
    """Look *machine_type* up in the catalogue."""
    from fal_machines.catalogues import known_machines

    return known_machines().get(machine_type)


@hookimpl
def fal_discover_devices() -> Iterable[Device]:
    """Find NVIDIA's GPUs, and slices of them."""
    from fal_machines.detection import find_devices

    return find_devices()


@hookimpl
def fal_register_commands(cli: click.Group) -> None:
    """Add the group ``machines``."""
    from fal_machines.commands import machines

    cli.add_command(machines)


@hookimpl
def fal_health_checks() -> Iterable[Check]:
    """Check that the GPUs of this machine can be read."""
    from fal_machines.checks import health_checks

    return health_checks()
