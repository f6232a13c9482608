"""
The plugin that fal-core itself provides: the kind ``current``, and the names of machine
types.
"""

from __future__ import annotations

from collections.abc import Iterable

from fal_core.environments import CurrentEnvironment, Environment
from fal_core.hooks import hookimpl
from fal_core.machines import MACHINE_TYPES, Machine

fal_core_api = 1


@hookimpl
def fal_register_environments() -> Iterable[type[Environment]]:
    """Register the kind ``current``."""
    return [CurrentEnvironment]


@hookimpl
def fal_list_machines() -> Iterable[Machine]:
    """List the machine types that are always known, and of which nothing is stated here."""
    return [Machine(name=name) for name in MACHINE_TYPES]


@hookimpl
def fal_resolve_machine(machine_type: str) -> Machine | None:
    """Know a machine type by its name, where no other plugin does."""
    return Machine(name=machine_type) if machine_type in MACHINE_TYPES else None
