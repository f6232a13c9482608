"""What calls ask for: so many GPUs, of a machine type or of any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from fal_core.errors import OptionError, PluginError
from fal_core.machines import Device, Machine, resolve_machine
from fal_core.options import HostOptions


@attrs.frozen(kw_only=True)
class Want:
    """
    GPUs that a call asks for.

    Attributes:
        count: How many; 0 for a call that is to have none.

        machine: The machine that they have to fit. None for any GPUs.
    """

    count: int
    machine: Machine | None = None

    def fitting(self, devices: Sequence[Device]) -> list[Device]:
        """
        Return those of *devices* that fit, the first one to take first: whole GPUs before
        slices, unused before used ones, and small before large ones.
        """
        fitting = [device for device in devices if self._accepts(device)]
        return sorted(fitting, key=_rank)

    def is_possible(self, devices: Sequence[Device]) -> bool:
        """Tell whether there are enough of *devices*, if nobody else holds any."""
        return len(self.fitting(devices)) >= self.count

    def _accepts(self, device: Device) -> bool:
        # A process can use one slice, and no more.
        if device.partitioned or (device.parent is not None and self.count > 1):
            return False
        machine = self.machine
        if machine is None or not machine.gpus:
            return device.kind in ("gpu", "mig")
        return machine.accepts(device)

    def __str__(self) -> str:
        gpus = "a GPU" if self.count == 1 else f"{self.count} GPUs"
        if self.machine is None:
            return gpus
        return f"{gpus} of machine type {self.machine.name!r}"


def wants_of(options: HostOptions) -> tuple[Want, ...]:
    """
    Return what a call with *options* asks for: of several machine types any one, the first
    before the others. Empty where it asks for nothing that is known here.

    A machine type that no installed plugin knows is left out.
    """
    machines = list(_known(options))
    if machines:
        return tuple(
            Want(
                count=machine.gpus if options.num_gpus is None else options.num_gpus,
                machine=machine,
            )
            for machine in machines
        )
    return () if options.num_gpus is None else (Want(count=options.num_gpus),)


def _known(options: HostOptions) -> Iterator[Machine]:
    for name in options.machine_names:
        try:
            yield resolve_machine(name)
        except (OptionError, PluginError):
            continue


def _rank(device: Device) -> tuple[bool, bool, int, int]:
    return device.parent is not None, is_used(device), device.memory, device.index


def is_used(device: Device) -> bool:
    """Tell whether processes use *device*, whether or not they hold it."""
    return bool(device.processes) or (device.used or 0) > device.memory // 10
