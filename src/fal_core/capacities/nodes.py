"""What the machines of a host have, and the hosts that tell."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod

import attrs

from fal_core.machines import Machine
from fal_core.reprs import show_fields


@attrs.frozen(kw_only=True)
class NodeCapacity:
    """
    What one machine of a host has. What is None, nobody knows.

    Attributes:
        gpu_model: That of its GPUs, as in ``H100``.
    """

    __repr__ = show_fields

    cpus: float | None = None
    memory: int | None = None
    gpus: float = 0
    gpu_model: str | None = None

    def has(self, machine: Machine) -> bool:
        """Return whether it can be a machine of such a type."""
        if machine.gpus > self.gpus:
            return False
        model = machine.gpu_model if machine.gpus else None
        if model is not None and self.gpu_model is not None:
            # Labels have no spaces.
            words, own = (
                set(re.split(r"[\s_-]+", each.lower())) for each in (model, self.gpu_model)
            )
            if not words <= own:
                return False
        return _is_within(machine.cpus, self.cpus) and _is_within(machine.memory, self.memory)


@attrs.frozen(kw_only=True)
class Capacity:
    """
    What the machines of a host have.

    Attributes:
        free_cpus: The processors of all of them together that nobody has. None where nobody
            knows.

        free_gpus: The same of GPUs.
    """

    __repr__ = show_fields

    nodes: tuple[NodeCapacity, ...] = ()
    free_cpus: float | None = None
    free_gpus: float | None = None

    def has(self, machine: Machine) -> bool:
        """Return whether one of them can be a machine of such a type."""
        return any(node.has(machine) for node in self.nodes)

    def has_free(self, machine: Machine) -> bool:
        """Return whether there is room for one at present, as far as is known."""
        cpus, gpus = self.free_cpus, self.free_gpus
        return (cpus is None or cpus >= (machine.cpus or 1)) and (
            gpus is None or gpus >= machine.gpus
        )


class CountingHost(ABC):
    """A :class:`Host` that tells what its machines have."""

    @abstractmethod
    def read_capacity(self) -> Capacity:
        """
        Return what there is, as of now. It may take a while.

        Raises:
            HostError: The machines cannot be asked.
        """


def _is_within(wanted: float | None, there: float | None) -> bool:
    return wanted is None or there is None or wanted <= there
