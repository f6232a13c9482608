"""Wants: what the options of a call ask for, and which devices fit."""

from __future__ import annotations

import pytest

from fal_core.claims import Want, wants_of
from fal_core.machines import Machine
from fal_core.options import HostOptions
from fal_testing.harness.devices import GIB, gpu, gpu_slice, machine_with

H100 = Machine(name="GPU-H100", gpus=1, gpu_model="H100", gpu_memory=80 * GIB)
A100 = Machine(name="GPU-A100", gpus=2, gpu_model="A100")
SMALL = Machine(name="S", cpus=1)


@pytest.mark.parametrize(
    ("options", "wants"),
    [
        ({}, []),
        ({"num_gpus": 0}, [Want(count=0)]),
        ({"num_gpus": 2}, [Want(count=2)]),
        ({"machine_type": "GPU-A100"}, [Want(count=2, machine=A100)]),
        ({"machine_type": "GPU-A100", "num_gpus": 4}, [Want(count=4, machine=A100)]),
        (
            {"machine_type": ("GPU-A100", "GPU-H100", "S")},
            [
                Want(count=2, machine=A100),
                Want(count=1, machine=H100),
                Want(count=0, machine=SMALL),
            ],
        ),
        # What no plugin knows is left out.
        ({"machine_type": "rack-7"}, []),
        ({"machine_type": "rack-7", "num_gpus": 1}, [Want(count=1)]),
    ],
)
def test_options_ask_for_devices(options: dict[str, object], wants: list[Want]) -> None:
    """Machine types name the GPUs and how many there are, and ``num_gpus`` replaces that."""
    with machine_with(machines=(H100, A100, SMALL)):
        typed = HostOptions(**options)  # type: ignore[arg-type]  # of several types
        assert list(wants_of(typed)) == wants


def test_whole_unused_and_small_devices_come_first() -> None:
    """Of the devices that fit, those come first that nobody misses."""
    devices = [
        gpu_slice(0, "GPU-9"),
        gpu(0, processes=(1,)),
        gpu(1, used=40 * GIB),
        gpu(2, memory=160 * GIB),
        gpu(3),
        gpu(9, partitioned=True),
    ]
    found = [device.uuid for device in Want(count=1).fitting(devices)]
    assert found == ["GPU-3", "GPU-2", "GPU-0", "GPU-1", "MIG-0"]


def test_several_slices_do_not_make_one_call() -> None:
    """A process uses one slice at most, so a call for two GPUs is given none."""
    slices = [gpu(9, partitioned=True), gpu_slice(0, "GPU-9"), gpu_slice(1, "GPU-9")]
    assert Want(count=1).is_possible(slices)
    assert not Want(count=2).is_possible(slices)


def test_the_machine_type_says_which_fit() -> None:
    """The model and the memory of a GPU have to be those of the machine type."""
    devices = [gpu(0), gpu(1, memory=40 * GIB), gpu(2, name="Test A100")]
    want = Want(count=1, machine=H100)
    assert want.fitting(devices) == [devices[0]]
