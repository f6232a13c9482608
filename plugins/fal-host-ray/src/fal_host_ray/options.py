"""What functions on a Ray cluster ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from fal_core.machines import Machine, resolve_machine
from fal_core.options import HostOptions
from fal_core.validators import at_least

#: The label that Ray gives a node for the model of its GPUs.
ACCELERATOR = "ray.io/accelerator-type"


@attrs.frozen(kw_only=True)
class RayOptions(HostOptions):
    """
    What a worker asks of the cluster beside its machine.

    Attributes:
        ray_resources: Resources of Ray by their names, as in ``{"TPU": 4}``.

        ray_labels: Labels that the node must have, as in ``{"ray.io/zone": "a"}``.

        ray_cpus: How many processors it takes, as Ray counts them, in place of those of its
            machine type. 1 where neither says.
    """

    ray_resources: Mapping[str, float] | None = None
    ray_labels: Mapping[str, str] | None = None
    ray_cpus: float | None = attrs.field(default=None, validator=at_least(0))


def find_machines(options: HostOptions) -> list[Machine]:
    """
    Return the machines that *options* ask for, the preferred one first; empty for any.

    Raises:
        OptionError: No plugin knows one of the machine types.
    """
    return [resolve_machine(name) for name in options.machine_names]


def resources_of(options: RayOptions, machine: Machine | None) -> dict[str, Any]:
    """Return what a worker on *machine* asks of the cluster, as values for JSON."""
    labels = dict(options.ray_labels or {})
    gpus: float = 0
    cpus: float = 1
    memory = None
    if machine is not None:
        gpus, cpus, memory = machine.gpus, machine.cpus or 1, machine.memory
        if machine.gpu_model is not None:
            labels.setdefault(ACCELERATOR, machine.gpu_model.replace(" ", "-"))
    if options.num_gpus is not None:
        gpus = options.num_gpus
    if options.ray_cpus is not None:
        cpus = options.ray_cpus
    return {
        "cpus": cpus,
        "gpus": gpus,
        "memory": memory,
        "labels": labels,
        "custom": dict(options.ray_resources or {}),
    }
