"""
What this machine has, beside what a machine type stands for.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from fal_core.machines import Device, Machine
from fal_core.reprs import show_size


def count_cpus() -> int:
    """
    Return how many processors this process may use.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def measure_memory() -> int:
    """
    Return the bytes of main memory.
    """
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def why_not_here(machine: Machine, devices: Sequence[Device]) -> list[str]:
    """
    Return what this machine lacks to be *machine*, as sentences. What is not stated of
    *machine* is not lacking.
    """
    lacking = []
    cpus, memory = count_cpus(), measure_memory()
    if machine.cpus is not None and machine.cpus > cpus:
        lacking.append(f"It has {cpus} of {machine.cpus:g} CPUs.")
    if machine.memory is not None and machine.memory > memory:
        has, wanted = show_size(memory), show_size(machine.memory)
        lacking.append(f"It has {has} of {wanted} of memory.")
    there = sum(machine.accepts(device) for device in devices)
    if machine.gpus > there:
        lacking.append(f"It has {there} of {machine.gpus} such GPUs.")
    return lacking
