"""What this machine has, beside what a machine type stands for."""

from __future__ import annotations

import pytest

from fal_core.machines import Device, Machine, count_cpus
from fal_machines.commands import measure_memory, why_not_here

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


def test_gpus_that_calls_cannot_have_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call has several whole GPUs or one slice, and no more than a scheduler has given."""
    two = Machine(name="two", gpus=2)
    part = Device(
        kind="mig", index=0, name="NVIDIA L4", uuid="MIG-1", memory=1 << 30, parent="GPU-2"
    )
    other = Device(kind="gpu", index=1, name="NVIDIA L4", uuid="GPU-2", memory=24_000_000_000)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert why_not_here(two, [GPU, part]) == ["It has 1 of 2 such GPUs."]
    assert why_not_here(two, [GPU, other]) == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert why_not_here(two, [GPU, other]) == [
        "It has 2 of 2 such GPUs. CUDA_VISIBLE_DEVICES lets this process use 1 of them."
    ]
