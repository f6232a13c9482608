"""
What this machine has, beside what a machine type stands for.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from fal_core.claims import Want, visible_devices
from fal_core.machines import Device, Machine, count_cpus
from fal_core.reprs import show_size


def measure_memory() -> int:
    """
    Return the bytes of main memory.
    """
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def why_not_here(machine: Machine, devices: Sequence[Device]) -> list[str]:
    """
    Return what this machine lacks to be *machine*, as sentences. What is not stated of
    *machine* is not lacking.

    Arguments:
        devices: Those of this machine, whether or not this process may use them.
    """
    lacking = []
    cpus, memory = count_cpus(), measure_memory()
    if machine.cpus is not None and machine.cpus > cpus:
        lacking.append(f"It has {cpus} of {machine.cpus:g} CPUs.")
    if machine.memory is not None and machine.memory > memory:
        has, wanted = show_size(memory), show_size(machine.memory)
        lacking.append(f"It has {has} of {wanted} of memory.")
    want = Want(count=machine.gpus, machine=machine)
    there, usable = len(want.fitting(devices)), len(want.fitting(visible_devices(devices)))
    if machine.gpus > usable:
        hidden = f" CUDA_VISIBLE_DEVICES lets this process use {usable} of them."
        has = f"It has {there} of {machine.gpus} such GPUs."
        lacking.append(has + hidden if there > usable else has)
    return lacking
