"""The catalogue: machine types, what is stated of them, and where."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

import fal_machines
from fal_core.errors import OptionError
from fal_core.machines import Device, Machine, list_machines, resolve_machine
from fal_machines.catalogues import known_machines


def device(name: str, memory: int) -> Device:
    return Device(kind="gpu", index=0, name=name, uuid="GPU-1", memory=memory)


def test_machine_types_of_fal_are_known() -> None:
    """
    The machine types that fal's API document and its SDK name are in the catalogue, and
    resolved and listed by the plugin.
    """
    named = ["XS", "S", "M", "L", "XL"]
    named += [f"GPU-{model}" for model in ("A6000", "A100", "H100", "H200", "B200", "L40")]
    listed = {machine.name for machine in list_machines()}
    assert listed.issuperset(named)
    for name in named:
        assert resolve_machine(name) is known_machines()[name]


def test_an_unknown_machine_type_is_not_resolved() -> None:
    """The plugin has no answer for a type that the catalogue lacks."""
    assert fal_machines.fal_resolve_machine("GPU-H1000") is None
    with pytest.raises(OptionError, match="'GPU-H1000'"):
        resolve_machine("GPU-H1000")


def test_what_is_stated_has_a_source(check_all: Callable[..., None]) -> None:
    """
    Each entry has the address of the documents that state it; a machine with GPUs tells their
    model and memory, and none has a price, which only a user gives.
    """

    def check(machine: Machine) -> None:
        assert machine.source is not None
        assert all(each.startswith("https://") for each in machine.source.split(", "))
        assert machine.name.startswith("GPU") == bool(machine.gpus)
        assert (machine.gpu_memory is None) == (not machine.gpus)
        assert machine.memory is None or machine.memory >= 512_000_000
        assert machine.price is None

    check_all(check, known_machines().values())


@pytest.mark.parametrize(
    ("name", "model", "mebibytes"),
    [
        ("GPU-H100", "NVIDIA H100 80GB HBM3", 81559),
        ("GPU-H200", "NVIDIA H200", 143771),
        ("GPU-B200", "NVIDIA B200", 183359),
        ("GPU-A100", "NVIDIA A100-SXM4-40GB", 40960),
        ("GPU-A6000", "NVIDIA RTX A6000", 49140),
        ("GPU-L40", "NVIDIA L40", 46068),
        ("GPU-RTX4090", "NVIDIA GeForce RTX 4090", 24564),
        ("GPU-RTX5090", "NVIDIA GeForce RTX 5090", 32607),
        ("GPU-T4", "Tesla T4", 15360),
    ],
)
def test_real_devices_are_accepted(name: str, model: str, mebibytes: int) -> None:
    """
    A type accepts the device that it is called after, as its driver tells name and memory,
    and no other type of another model does.
    """
    real = device(model, mebibytes << 20)
    accepting = {each.name for each in known_machines().values() if each.accepts(real)}
    assert accepting - {"GPU"} == {name}


def test_declaring_a_machine_type_is_light() -> None:
    """A declaration reads the catalogue, and neither asks for devices nor imports what does."""
    more = modules_after("machine_type='GPU-H100'") - modules_after("keep_alive=3")
    assert "fal_machines.catalogues" in more
    heavy = {"click", "ctypes", "difflib", "importlib.resources", "pathlib", "pynvml"}
    assert not more & heavy


def modules_after(options: str) -> set[str]:
    """Return the modules that a new Python has after a declaration with *options*."""
    declared = f"fal_core.function('current', {options})(len)"
    program = f"import fal_core, sys; {declared}; print(*sys.modules)"
    return set(subprocess.check_output([sys.executable, "-c", program], text=True).split())
