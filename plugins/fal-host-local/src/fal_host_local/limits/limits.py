"""Limits of one worker, and what keeps each of them on this machine."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from fal_core.machines import LIMITS, HeldLimits, Machine, count_cpus
from fal_core.reprs import show_size
from fal_host_local.limits.cgroups import FILES, PERIOD, Hierarchy


@attrs.frozen
class WorkerLimits:
    """
    What a worker may use.

    Attributes:
        machine: The machine type whose sizes these are. None where none is known.

        network: Whether it has a network.

        hierarchies: Where cgroups can be made. What they do not keep is kept otherwise.

        held: What the program holds the worker to that starts it. None where the keeper
            starts it.
    """

    machine: Machine | None
    network: bool
    hierarchies: Sequence[Hierarchy]
    held: HeldLimits | None = None

    def confinement(self) -> dict[str, Any]:
        """Return what the keeper is told: the cgroups to make, and what is kept otherwise."""
        machine, kept = self.machine, self._kept
        if machine is None:
            return {"groups": []}
        groups = [
            (hierarchy.folder, hierarchy.version, list(_files(hierarchy, machine)))
            for hierarchy in self.hierarchies
        ]
        told: dict[str, Any] = {"groups": [each for each in groups if each[2]]}
        if machine.memory is not None and "memory" not in kept:
            told["memory"] = machine.memory
        if machine.cpus is not None and "cpu" not in kept and machine.cpus < count_cpus():
            told["cpus"] = math.ceil(machine.cpus)
        if machine.processes is not None and "pids" not in kept:
            told["processes"] = machine.processes
        return told

    @property
    def _kept(self) -> set[str]:
        return {each for hierarchy in self.hierarchies for each in hierarchy.controllers}

    def describe(self) -> str:
        """Return which limits hold, and by what, as a sentence."""
        machine, kept = self.machine, self._kept
        parts = [] if self.network else ["no network"]
        if machine is None:
            held = "No limits hold but that there is no network" if parts else "No limits hold"
            return f"{held}: no machine type is declared whose sizes are known here."
        if self.held is not None:
            return f"Limits of machine type {machine.name!r}: {_said_by(self.held, machine)}"
        memory = None if machine.memory is None else show_size(machine.memory)
        cpus = machine.cpus
        watched = "watched, it may be more for a moment"
        parts = [
            _said("memory", memory, "memory" in kept, watched),
            _said("processors", cpus, "cpu" in kept, f"at most {math.ceil(cpus or 0)}, whole")
            if cpus is None or cpus < count_cpus()
            else f"processors {cpus:g} (this machine has {count_cpus()})",
            _said("processes", machine.processes, "pids" in kept, "of the whole user"),
            *parts,
        ]
        return f"Limits of machine type {machine.name!r}: {'; '.join(parts)}."


def _files(hierarchy: Hierarchy, machine: Machine) -> Iterator[tuple[str, str, bool]]:
    """Yield the files of a cgroup, what is written to each, and whether it has to be there."""
    version = hierarchy.version
    for controller in hierarchy.controllers:
        name = FILES[version][controller]
        if controller == "memory" and machine.memory is not None:
            size = str(machine.memory)
            yield name, size, True
            # What is swapped out counts as well.
            if version == 1:
                yield "memory.memsw.limit_in_bytes", size, False
            else:
                yield "memory.swap.max", "0", False
                yield "memory.oom.group", "1", False
        elif controller == "cpu" and machine.cpus is not None and machine.cpus < count_cpus():
            quota = max(1000, int(machine.cpus * PERIOD))
            if version == 1:
                yield "cpu.cfs_period_us", str(PERIOD), True
                yield name, str(quota), True
            else:
                yield name, f"{quota} {PERIOD}", True
        elif controller == "pids" and machine.processes is not None:
            yield name, str(machine.processes), True


def _said(what: str, limit: object, by_group: bool, otherwise: str) -> str:
    if limit is None:
        return f"{what} not enforced, as none are stated"
    return f"{what} {limit} ({'by a cgroup' if by_group else otherwise})"


def _said_by(held: HeldLimits, machine: Machine) -> str:
    """Return which limits of *machine* a program holds workers to, and why not the others."""
    parts = []
    for limit, name in LIMITS.items():
        size = getattr(machine, limit)
        if size is None:
            parts.append(f"{name} not enforced, as none are stated")
            continue
        shown = show_size(size) if limit == "memory" else f"{size:g}"
        if limit in held.ignored:
            parts.append(f"{name} {shown} not enforced")
        elif limit == "cpus" and size >= (os.cpu_count() or 1):
            parts.append(f"{name} {shown} (this machine has {os.cpu_count()})")
        else:
            parts.append(f"{name} {shown} (by a cgroup of {held.by})")
    problem = held.problem(machine)
    return "; ".join(parts) + "." + (f" {problem}" if problem else "")


_lock = threading.Lock()
_described: set[str] = set()


def describe_once(limits: WorkerLimits) -> str:
    """Return which limits hold, the first time that this process is asked about them."""
    said = limits.describe()
    with _lock:
        is_known = said in _described
        _described.add(said)
    return "" if is_known else said
