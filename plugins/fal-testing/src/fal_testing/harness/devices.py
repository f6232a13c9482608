"""Devices that a machine without any is said to have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from fal_core.hooks import hookimpl
from fal_core.machines import Device, Machine
from fal_core.plugins import registered

GIB = 1 << 30


def gpu(index: int, **more: Any) -> Device:
    """Return a GPU: ``GPU-0`` is the first one."""
    facts: dict[str, Any] = {"name": "Test H100", "uuid": f"GPU-{index}", "memory": 80 * GIB}
    return Device(kind="gpu", index=index, **facts | more)


def gpu_slice(index: int, parent: str) -> Device:
    """Return a slice of the GPU *parent*: ``MIG-0`` is the first one."""
    facts: dict[str, Any] = {"name": "Test H100 1g", "uuid": f"MIG-{index}", "memory": 10 * GIB}
    return Device(kind="mig", index=index, parent=parent, **facts)


@contextmanager
def machine_with(*devices: Device, machines: tuple[Machine, ...] = ()) -> Iterator[None]:
    """Have a plugin that finds *devices* on this machine, and knows *machines*."""
    made: Any = ModuleType("machine-with")
    made.fal_core_api = 1
    known = {machine.name: machine for machine in machines}
    made.fal_discover_devices = hookimpl(lambda: devices)
    made.fal_list_machines = hookimpl(lambda: machines)
    made.fal_resolve_machine = hookimpl(lambda machine_type: known.get(machine_type))
    with registered(made):
        yield
