"""What the machines of a host have."""

from __future__ import annotations

import pytest

from fal_core.capacities import Capacity, NodeCapacity
from fal_core.machines import Machine

NODE = NodeCapacity(cpus=8, memory=16 << 30, gpus=2, gpu_model="NVIDIA-RTX-4090")


@pytest.mark.parametrize(
    ("machine", "fits"),
    [
        (Machine(name="any"), True),
        (Machine(name="cpus", cpus=8), True),
        (Machine(name="cpus", cpus=9), False),
        (Machine(name="memory", memory=17 << 30), False),
        (Machine(name="gpus", gpus=2), True),
        (Machine(name="gpus", gpus=3), False),
        # A label has no spaces, and may name the vendor too.
        (Machine(name="model", gpus=1, gpu_model="RTX 4090"), True),
        (Machine(name="model", gpus=1, gpu_model="RTX 5090"), False),
        (Machine(name="none", gpu_model="H100"), True),
    ],
)
def test_machine_type_that_a_node_can_be(machine: Machine, fits: bool):
    """A node can be a machine of a type if it has as much of everything as is stated."""
    assert NODE.has(machine) is fits
    assert Capacity(nodes=(NodeCapacity(), NODE)).has(machine) is (fits or not machine.gpus)


def test_room_is_what_nobody_has():
    """
    There is room for a machine if as many processors and GPUs are free; what nobody knows
    counts as free.
    """
    machine = Machine(name="one", cpus=4, gpus=1)
    assert Capacity().has_free(machine)
    assert Capacity(free_cpus=4, free_gpus=1).has_free(machine)
    assert not Capacity(free_cpus=3.5, free_gpus=1).has_free(machine)
    assert not Capacity(free_cpus=4, free_gpus=0).has_free(machine)
    # One without stated processors takes one.
    assert not Capacity(free_cpus=0.5).has_free(Machine(name="any"))
