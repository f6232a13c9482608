"""
Machine uses: what the machine types of a function stand for, and what of this machine a call
may take.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from fal_core.claims import Want, visible_devices
from fal_core.errors import OptionError, PluginError
from fal_core.hosts import Host
from fal_core.machines import (
    Device,
    Machine,
    can_discover_devices,
    discover_devices,
    resolve_machine,
)
from fal_core.options import HostOptions
from fal_core.reprs import show_size


@attrs.frozen(kw_only=True)
class MachineUse:
    """
    One machine type that a function may run on.

    Attributes:
        states: What it stands for, as far as plugins know.

        takes: What of this machine a call takes. Empty for a host elsewhere, and for a
            machine without GPUs.
    """

    name: str
    states: str
    takes: str = ""


def machine_uses(options: HostOptions, host: Host[..., object]) -> Iterator[MachineUse]:
    """
    Yield the machine types of a function with *options*, the preferred one first.
    """
    machines = [_resolve(name, options.num_gpus) for name in options.machine_names]
    if not machines and options.num_gpus:
        machines = [Machine(name="any", gpus=options.num_gpus)]
    # Such a host runs its workers here.
    is_here = host.capabilities.inherits
    devices: list[Device] = []
    if is_here and any(machine.gpus for machine in machines):
        devices = list(visible_devices(discover_devices()))
    for machine in machines:
        takes = _describe_taken(machine, devices) if is_here and machine.gpus else ""
        yield MachineUse(name=machine.name, states=_describe(machine), takes=takes)


def _resolve(name: str, gpus: int | None) -> Machine:
    try:
        machine = resolve_machine(name)
    except (OptionError, PluginError):
        # Whoever refuses it says why.
        machine = Machine(name=name)
    return machine if gpus is None else attrs.evolve(machine, gpus=gpus)


def _describe(machine: Machine) -> str:
    stated = []
    if machine.cpus is not None:
        stated.append(f"{machine.cpus:g} {'CPU' if machine.cpus == 1 else 'CPUs'}")
    if machine.memory is not None:
        stated.append(f"{show_size(machine.memory)} of memory")
    if machine.gpus:
        each = "" if machine.gpu_memory is None else show_size(machine.gpu_memory)
        of = " ".join(filter(None, (machine.gpu_model, each)))
        count = f"{machine.gpus} {'GPU' if machine.gpus == 1 else 'GPUs'}"
        stated.append(f"{count} ({of})" if of else count)
    if machine.price is not None:
        stated.append(f"{machine.price:g} an hour")
    return ", ".join(stated) or "nothing is stated"


def _describe_taken(machine: Machine, devices: list[Device]) -> str:
    if not can_discover_devices():
        return "No installed plugin finds GPUs."
    fitting = Want(count=machine.gpus, machine=machine).fitting(devices)
    if len(fitting) < machine.gpus:
        return f"This machine has {len(fitting) or 'none'} of these GPUs."
    named = ", ".join(f"{device.name} {device.uuid}" for device in fitting)
    return f"takes {machine.gpus} of {named}"
