"""What the nodes of a cluster have."""

from __future__ import annotations

from fal_core.capacities import Capacity, NodeCapacity
from fal_host_ray.cluster.launchers import DriverProcess
from fal_host_ray.options import ACCELERATOR


def read_capacity(launcher: DriverProcess) -> Capacity:
    """
    Ask Ray what its nodes have, and what of it is free.

    Raises:
        HostError: It cannot be asked.
    """
    told = launcher.ask({"do": "count"})
    nodes = []
    for node in told["nodes"]:
        has = node["resources"]
        memory = has.get("memory")
        nodes.append(
            NodeCapacity(
                cpus=has.get("CPU", 0.0),
                memory=None if memory is None else int(memory),
                gpus=has.get("GPU", 0.0),
                gpu_model=node["labels"].get(ACCELERATOR),
            )
        )
    free = told["free"]
    return Capacity(
        nodes=tuple(nodes), free_cpus=free.get("CPU", 0.0), free_gpus=free.get("GPU", 0.0)
    )
