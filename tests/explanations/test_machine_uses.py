"""Machine uses: what the machine types of a function stand for, and what a call may take here."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import pytest

from fal_core.explanations.explaining import MachineUse, machine_uses
from fal_core.hooks import hookimpl
from fal_core.machines import Device, Machine
from fal_core.options import HostOptions
from fal_core.plugins import registered
from fal_testing.hosts.in_process import InProcessHost

GB = 1000**3
LARGE = Machine(
    name="large",
    cpus=1.5,
    memory=12 * GB,
    gpus=1,
    gpu_model="H100",
    gpu_memory=80 * GB,
    price=2.5,
)
H100 = Device(kind="gpu", index=0, name="NVIDIA H100", uuid="GPU-a", memory=85 * GB)


class Knowing:
    """A plugin that knows a machine type, and finds two GPUs and a third of another model."""

    fal_core_api = 1

    @hookimpl
    def fal_resolve_machine(self, machine_type: str) -> Machine | None:
        return {"large": LARGE, "one": Machine(name="one", cpus=1)}.get(machine_type)

    @hookimpl
    def fal_discover_devices(self) -> list[Device]:
        other = attrs.evolve(H100, uuid="GPU-c", name="NVIDIA L4")
        return [H100, attrs.evolve(H100, uuid="GPU-b"), other]


class Here(InProcessHost):
    """A host whose workers run on this machine."""

    capabilities = attrs.evolve(InProcessHost.capabilities, inherits=True)


class Elsewhere(InProcessHost):
    """A host whose workers do not."""

    capabilities = attrs.evolve(InProcessHost.capabilities, inherits=False)


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with registered(Knowing()):
        yield


def test_a_type_is_told_with_what_is_stated_and_what_it_takes() -> None:
    """Each machine type tells what it stands for; on this machine, which GPUs it takes of."""
    options = HostOptions(machine_type=("large", "one", "unheard"))
    assert list(machine_uses(options, Here())) == [
        MachineUse(
            name="large",
            states="1.5 CPUs, 12 GB of memory, 1 GPU (H100 80 GB), 2.5 an hour",
            takes="takes 1 of NVIDIA H100 GPU-a, NVIDIA H100 GPU-b",
        ),
        MachineUse(name="one", states="1 CPU"),
        MachineUse(name="unheard", states="nothing is stated"),
    ]


def test_gpus_that_are_not_here_are_told() -> None:
    """Where this machine has fewer such GPUs than are asked for, it says so."""
    options = HostOptions(machine_types=("large",), num_gpus=3)
    [use] = machine_uses(options, Here())
    assert use.states.endswith("3 GPUs (H100 80 GB), 2.5 an hour")
    assert use.takes == "This machine has 2 of these GPUs."


def test_gpus_of_any_type_are_told() -> None:
    """A function may ask for GPUs without a machine type."""
    [use] = machine_uses(HostOptions(num_gpus=3), Here())
    assert (use.name, use.states) == ("any", "3 GPUs")
    assert use.takes == "takes 3 of NVIDIA H100 GPU-a, NVIDIA H100 GPU-b, NVIDIA L4 GPU-c"


@pytest.mark.parametrize(
    ("options", "takes"),
    [(HostOptions(), []), (HostOptions(machine_type="large"), [""])],
    ids=["nothing", "elsewhere"],
)
def test_nothing_of_this_machine_is_told(options: HostOptions, takes: list[str]) -> None:
    """A function that asks for nothing, or whose host is elsewhere, takes nothing here."""
    assert [use.takes for use in machine_uses(options, Elsewhere())] == takes


def test_gpus_that_this_process_does_not_see_are_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where a scheduler has given this process some of the GPUs, a call takes of these."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-b")
    [use] = machine_uses(HostOptions(machine_type="large"), Here())
    assert use.takes == "takes 1 of NVIDIA H100 GPU-b"
