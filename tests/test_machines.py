"""Machines: what a machine type stands for."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import attrs
import pytest

from fal_core.errors import OptionError, WorkerLost
from fal_core.hooks import hookimpl
from fal_core.machines import (
    MACHINE_TYPES,
    Device,
    HeldLimits,
    Machine,
    UnknownMachineError,
    discover_devices,
    list_machines,
    out_of_memory,
    refuse_machine,
    resolve_machine,
    smallest_machine,
)
from fal_core.plugins import registered

GB = 1000**3
LARGE = Machine(name="large", cpus=8, gpus=2)
H100 = Device(kind="gpu", index=0, name="NVIDIA H100 80GB HBM3", uuid="GPU-1", memory=80 * GB)


def knowing(*machines: Machine) -> ModuleType:
    """Return a plugin that knows *machines*."""
    made: Any = ModuleType("knowing")
    made.fal_core_api = 1
    known = {machine.name: machine for machine in machines}
    made.fal_resolve_machine = hookimpl(lambda machine_type: known.get(machine_type))
    made.fal_list_machines = hookimpl(lambda: known.values())
    return made  # type: ignore[no-any-return]  # a module


def test_the_plugin_that_knows_a_machine_type_resolves_it() -> None:
    """Plugins are asked until one knows the machine type."""
    with registered(knowing(LARGE)), registered(knowing()):
        assert resolve_machine("large") is LARGE


def test_an_unknown_machine_type_is_refused_with_what_to_do() -> None:
    """A machine type that no plugin knows is an error that says what is missing."""
    with registered(knowing(LARGE)), pytest.raises(UnknownMachineError) as caught:
        resolve_machine("enormous")
    error = caught.value
    assert isinstance(error, OptionError)
    assert str(error).startswith("Unknown machine type 'enormous'. Known: XS, S, M, L, XL, ")
    assert "Add it to [tool.fal-core.machines] of pyproject.toml, " in str(error)


@pytest.mark.parametrize("name", ["larg", "LARGE", "Larg"])
def test_an_unknown_machine_type_suggests_the_nearest(name: str) -> None:
    """A misspelt machine type is an error with the one that was meant, in its own letters."""
    with registered(knowing(LARGE)), pytest.raises(UnknownMachineError) as caught:
        resolve_machine(name)
    assert str(caught.value) == f"Unknown machine type {name!r}. Did you mean 'large'?"


@pytest.mark.parametrize("name", MACHINE_TYPES)
def test_some_machine_types_are_always_known(name: str) -> None:
    """Machine types of the core have a name without any plugin, and what a plugin says counts."""
    assert resolve_machine(name).name == name
    assert refuse_machine(name) is None
    mine = Machine(name=name, cpus=3)
    with registered(knowing(mine)):
        assert resolve_machine(name) is mine


def test_nothing_is_refused_where_no_plugin_lists_machines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A plugin that resolves machine types without listing them makes none an error."""
    monkeypatch.setenv("FAL_CORE_PLUGINS_DENY", "fal-machines")
    silent = knowing(LARGE)
    del silent.fal_list_machines
    with registered(silent):
        assert refuse_machine("huge") is None
        with pytest.raises(UnknownMachineError, match=r"`pip install 'fal-core\[machines\]'`"):
            resolve_machine("huge")
    with registered(knowing(LARGE)):
        assert isinstance(refuse_machine("huge"), UnknownMachineError)
        assert refuse_machine("large") is None


def test_what_is_wrong_with_declared_machines_is_raised() -> None:
    """
    The user's own mistake in what a plugin reads is an error of whoever lists machines, and
    is not logged away.
    """
    made = knowing(LARGE)

    def fail() -> list[Machine]:
        raise OptionError("machines.toml is wrong.")

    made.fal_list_machines = hookimpl(fail)  # type: ignore[attr-defined]  # a module
    with registered(made), pytest.raises(OptionError, match=r"machines\.toml is wrong"):
        list_machines()


def test_machines_of_all_plugins_are_listed_once() -> None:
    """Plugins list their machines; of two of a name the one is listed that is also resolved."""
    mine = attrs.evolve(LARGE, cpus=16)
    with registered(knowing(LARGE, Machine(name="small"))), registered(knowing(mine), "mine"):
        listed = {machine.name: machine for machine in list_machines()}
        assert list(listed)[-2:] == ["large", "small"]
        assert listed["large"] is mine is resolve_machine("large")


def test_devices_of_all_plugins_are_found() -> None:
    """Each plugin finds the devices of its vendor."""
    made: Any = ModuleType("finding")
    made.fal_core_api = 1
    made.fal_discover_devices = hookimpl(lambda: [H100])
    with registered(made):
        assert H100 in discover_devices()


@pytest.mark.parametrize(
    ("machine", "device", "accepted"),
    [
        (Machine(name="any", gpus=1), H100, True),
        (Machine(name="none"), H100, False),
        (Machine(name="a model", gpus=1, gpu_model="H100"), H100, True),
        (Machine(name="another", gpus=1, gpu_model="H1000"), H100, False),
        (Machine(name="large", gpus=1, gpu_memory=80 * GB), H100, True),
        (Machine(name="larger", gpus=1, gpu_memory=81 * GB), H100, False),
        (Machine(name="any", gpus=1), attrs.evolve(H100, partitioned=True), False),
        (Machine(name="any", gpus=1), attrs.evolve(H100, kind="mig", parent="GPU-1"), True),
        (Machine(name="any", gpus=1), attrs.evolve(H100, kind="tpu"), False),
    ],
)
def test_a_machine_accepts_a_gpu_by_model_and_memory(
    machine: Machine, device: Device, accepted: bool
) -> None:
    """
    A device counts as a GPU of a machine by the words of its model and by its memory; what
    is given in slices counts by its slices alone.
    """
    assert machine.accepts(device) is accepted


def test_the_smallest_machine_with_enough_is_found() -> None:
    """Of the machines with so many GPUs, the smallest with more memory."""
    peta = 10**15
    small, larger = Machine(name="a", memory=peta), Machine(name="b", memory=2 * peta)
    gpu = Machine(name="c", memory=peta, gpus=1, gpu_model="H100", gpu_memory=80)
    other = Machine(name="d", memory=peta, gpus=1, gpu_model="T4", gpu_memory=16)
    with registered(knowing(larger, small, gpu, other, Machine(name="e"))):
        assert smallest_machine(peta // 2) == small
        assert smallest_machine(peta) == larger
        assert smallest_machine(2 * peta) is None
        assert smallest_machine(peta // 2, gpus=1) == other
        assert smallest_machine(peta // 2, gpus=1, gpu_memory=40) == gpu
        assert smallest_machine(peta // 2, gpus=1, gpu_model="H100") == gpu


def test_limits_that_are_ignored_are_named_if_they_are_stated() -> None:
    """What a machine does not state is not missed; each reason is given once."""
    held = HeldLimits(by="podman", ignored={"cpus": "No cgroups.", "processes": "No cgroups."})
    assert held.problem(Machine(name="a", memory=GB)) == ""
    assert held.problem(Machine(name="a", cpus=1)) == (
        "podman ignores limits of processors here: No cgroups."
    )
    assert str(held) == "podman ignores limits of processors and processes here: No cgroups."
    assert str(HeldLimits(by="podman")) == "podman keeps the limits of machine types."


def test_a_want_of_memory_names_the_machine_that_has_more() -> None:
    """The error keeps how the worker has ended, and does without what is not known."""
    peta = 10**15
    small, large = Machine(name="a", memory=peta), Machine(name="b", memory=2 * peta)
    with registered(knowing(small, large)):
        error = out_of_memory(WorkerLost(137, 9, "Its words."), small)
        beyond = out_of_memory(WorkerLost(), small, 3 * peta)
    assert (error.code, error.signal, error.peak, error.fits) == (137, 9, None, "b")
    assert error.detail == (
        "Machine type 'a' has 1000 TB. The next larger one is 'b', with 2000 TB. Its words."
    )
    assert (beyond.peak, beyond.fits) == (3 * peta, None)
    assert beyond.detail == "It used 3000 TB, and machine type 'a' has 1000 TB."
