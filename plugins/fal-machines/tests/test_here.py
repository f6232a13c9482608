"""
What this machine has, beside what a machine type stands for.
"""

from __future__ import annotations

import pytest

from fal_core.machines import Device, Machine
from fal_machines.here import count_cpus, measure_memory, why_not_here

GPU = Device(kind="gpu", index=0, name="NVIDIA L4", uuid="GPU-1", memory=24_000_000_000)


@pytest.mark.parametrize(
    ("machine", "sentence"),
    [
        (Machine(name="unstated"), None),
        (Machine(name="this", cpus=count_cpus(), memory=measure_memory(), gpus=1), None),
        (Machine(name="cpus", cpus=10_000.5), f"It has {count_cpus()} of 10000.5 CPUs."),
        (Machine(name="memory", memory=10**15), "of 1000 TB of memory."),
        (Machine(name="gpus", gpus=2), "It has 1 of 2 such GPUs."),
        (Machine(name="model", gpus=1, gpu_model="H100"), "It has 0 of 1 such GPUs."),
    ],
    ids=lambda each: each.name if isinstance(each, Machine) else "",
)
def test_what_is_lacking_is_told(machine: Machine, sentence: str | None) -> None:
    """
    What a machine type states and this machine lacks is a sentence each; what it does not
    state lacks nowhere.
    """
    lacking = why_not_here(machine, [GPU])
    if sentence is None:
        assert lacking == []
    else:
        [told] = lacking
        assert told.endswith(sentence)
