"""
Capacities: what this machine has, and what runners of a machine type may use of it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from fal_core.plugins import load_plugins
from fal_server.specs.memory import memory_of


def describe_crowding(present: Sequence[str], another: str, sizes: Mapping[str, int]) -> str:
    """
    Return why runners of the machine types *present* leave no room on this machine for one
    of the type *another*, as a sentence. Empty where they do, and where no limit is known.

    Arguments:
        sizes: The memory limits of machine types, in bytes.
    """
    if not present:
        return ""
    memory, more_memory = _sum_memory(present, sizes), _sum_memory([another], sizes)
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if memory and more_memory and memory + more_memory > total:
        return (
            f"The previous runners may use {_write(memory)} of memory and a new one "
            f"{_write(more_memory)}, and this machine has {_write(total)}."
        )
    gpus, more_gpus = _count_gpus(present), _count_gpus([another])
    if not (gpus and more_gpus):
        return ""
    found = load_plugins().hooks.collect("fal_discover_devices")
    there = sum(device.kind == "gpu" for device in found)
    if gpus + more_gpus <= there:
        return ""
    used = f"{gpus} GPU" if gpus == 1 else f"{gpus} GPUs"
    return (
        f"The previous runners use {used} and a new one {more_gpus}, and this machine has "
        f"{there}."
    )


def _sum_memory(machine_types: Sequence[str], sizes: Mapping[str, int]) -> int:
    return sum(memory_of(each, sizes) or 0 for each in machine_types)


def _count_gpus(machine_types: Sequence[str]) -> int:
    hooks = load_plugins().hooks
    found = (hooks.resolve("fal_resolve_machine", machine_type=each) for each in machine_types)
    return sum(machine.gpus for machine in found if machine is not None)


def _write(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"
