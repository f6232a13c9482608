"""Machines and the devices they have."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

import attrs

from fal_core.errors import OptionError, OutOfMemory, WorkerLost
from fal_core.facts import facts
from fal_core.reprs import show_fields, show_size

#: The machine types that are always known. What they stand for, a plugin may tell.
MACHINE_TYPES = ("XS", "S", "M", "L", "XL")

#: The fields of a machine that processes can be held to, and what messages call them.
LIMITS: Mapping[str, str] = {
    "memory": "memory",
    "cpus": "processors",
    "processes": "processes",
}


@attrs.frozen(kw_only=True)
class Machine:
    """
    The resources that a machine type stands for. What is None is not stated anywhere, and
    the host decides.

    Attributes:
        name: The machine type, as in ``GPU-H100``.

        cpus: How many processors.

        memory: Bytes of main memory.

        processes: How many processes and threads may run at once.

        gpus: How many GPUs.

        gpu_model: The vendor's name of the GPUs, as in ``RTX 4090``. None for any.

        gpu_memory: Bytes of memory that each GPU has, at least.

        compute_capability: What the GPUs can run, as CUDA counts it: ``9.0``.

        price: What an hour costs, in the currency of the *source*.

        source: Where this is stated: a URL, the path of a file, or the name of a plugin.
    """

    name: str
    cpus: float | None = None
    memory: int | None = None
    processes: int | None = None
    gpus: int = 0
    gpu_model: str | None = None
    gpu_memory: int | None = None
    compute_capability: str | None = None
    price: float | None = None
    source: str | None = None

    def accepts(self, device: Device) -> bool:
        """
        Tell whether *device* can be a GPU of such a machine: by its model and its memory.

        A GPU that is given in slices only is none, and a slice is one if it is large
        enough.
        """
        if not self.gpus or device.kind not in ("gpu", "mig") or device.partitioned:
            return False
        if self.gpu_memory is not None and device.memory < self.gpu_memory:
            return False
        return self.gpu_model is None or device.is_model(self.gpu_model)


@attrs.frozen(kw_only=True)
class HeldLimits:
    """
    What a program such as a container engine holds the processes to that it starts.

    Attributes:
        by: The program, as in ``podman``.

        ignored: The names of :data:`LIMITS` that it ignores, each with the reason as a
            sentence.
    """

    __repr__ = show_fields

    by: str
    ignored: Mapping[str, str] = attrs.field(factory=dict)

    def problem(self, machine: Machine) -> str:
        """Return which sizes of *machine* are ignored, and why, as a sentence; empty if none is."""
        return self._said([each for each in LIMITS if getattr(machine, each) is not None])

    def __str__(self) -> str:
        return self._said(list(LIMITS)) or f"{self.by} keeps the limits of machine types."

    def _said(self, wanted: list[str]) -> str:
        ignored = [limit for limit in wanted if limit in self.ignored]
        if not ignored:
            return ""
        *others, last = (LIMITS[limit] for limit in ignored)
        named = f"{', '.join(others)} and {last}" if others else last
        reasons = " ".join(dict.fromkeys(self.ignored[limit] for limit in ignored))
        return f"{self.by} ignores limits of {named} here: {reasons}"


@facts
class UnknownMachineError(OptionError):
    """
    No installed plugin knows the machine type.

    Attributes:
        machine_type: The name as the user wrote it.

        suggestion: The known machine type whose name is nearest, if one is near.

        known: The machine types that plugins list.

        hint: How to get more of them, as a sentence.
    """

    machine_type: str
    suggestion: str | None = None
    known: tuple[str, ...] = ()
    hint: str = ""

    def __str__(self) -> str:
        unknown = f"Unknown machine type {self.machine_type!r}."
        if self.suggestion is not None:
            return f"{unknown} Did you mean {self.suggestion!r}?"
        known = f" Known: {', '.join(self.known)}." if self.known else ""
        return f"{unknown}{known}" + (f" {self.hint}" if self.hint else "")


def resolve_machine(name: str) -> Machine:
    """
    Return the machine that the machine type *name* stands for, as the first plugin that
    knows it says.

    Raises:
        UnknownMachineError: No installed plugin knows it.

        OptionError: Where machine types are declared, something is wrong.

        PluginError: One of the plugins failed, and no other knows it.
    """
    from fal_core.front import resolve_machine

    return resolve_machine(name)


def refuse_machine(name: str) -> UnknownMachineError | None:
    """
    Return why the machine type *name* may not be declared: it is unknown, although a plugin
    lists machine types. None if it may.

    Raises:
        OptionError: Where machine types are declared, something is wrong.

        PluginError: One of the plugins failed, and no other knows it.
    """
    from fal_core.front import refuse_machine

    return refuse_machine(name)


def smallest_machine(
    memory: int, *, gpus: int = 0, gpu_model: str | None = None, gpu_memory: int = 0
) -> Machine | None:
    """
    Return the smallest machine with more than *memory* that an installed plugin lists, and
    with the GPUs; None if there is none whose sizes are stated.

    Arguments:
        gpu_memory: What each GPU has to have, at least.
    """
    fitting = [
        each
        for each in list_machines()
        if each.memory is not None
        and each.memory > memory
        and each.gpus == gpus
        and (gpu_model is None or each.gpu_model == gpu_model)
        and (not gpu_memory or (each.gpu_memory or 0) >= gpu_memory)
    ]
    # Where the memory is the same, the GPUs and processors decide.
    sizes = [(each.memory or 0, each.gpu_memory or 0, each.cpus or 0) for each in fitting]
    return fitting[sizes.index(min(sizes))] if fitting else None


def out_of_memory(lost: WorkerLost, machine: Machine, peak: int | None = None) -> OutOfMemory:
    """
    Return the error of a worker that the memory of *machine* was too small for, which names
    the machine type that has more.

    Arguments:
        lost: How the worker has ended.

        peak: The most bytes that it has used. None if that is unknown.
    """
    has = machine.memory or 0
    # A limit lets nothing go beyond it, which the last attempt would have.
    try:
        larger = smallest_machine(
            max(peak or 0, has), gpus=machine.gpus, gpu_model=machine.gpu_model
        )
    except OptionError:
        larger = None
    used = "Machine" if peak is None else f"It used {show_size(peak)}, and machine"
    detail = f"{used} type {machine.name!r} has {show_size(has)}."
    if larger is not None:
        more = show_size(larger.memory or 0)
        detail += f" The next larger one is {larger.name!r}, with {more}."
    if lost.detail:
        detail += f" {lost.detail}"
    fits = None if larger is None else larger.name
    return OutOfMemory(lost.code, lost.signal, detail, peak, has, fits=fits)


def list_machines() -> list[Machine]:
    """
    Return the machines that the installed plugins list, each name once, in the order in
    which they are listed.

    Raises:
        OptionError: Where machine types are declared, something is wrong.
    """
    from fal_core.front import list_machines

    return list_machines()


@attrs.frozen(kw_only=True)
class Device:
    """
    An accelerator that this machine has.

    Attributes:
        kind: ``gpu``, or ``mig`` for a slice of a GPU. Other vendors may have others.

        index: Its number among the devices of its kind.

        name: The vendor's name of the model.

        uuid: What names this one device, also after the machine was started again.

        memory: Bytes.

        compute_capability: What it can run, as CUDA counts it: ``9.0``. None where the
            vendor does not say.

        parent: The *uuid* of the GPU that it is a slice of. None for a whole one.

        partitioned: Whether it is given in slices only, so that nothing can run on it as
            a whole.

        used: Bytes of its memory that are in use. None where the vendor does not say.

        processes: The ids of the processes that use it, as far as the vendor tells them.
    """

    kind: str
    index: int
    name: str
    uuid: str
    memory: int
    compute_capability: str | None = None
    parent: str | None = None
    partitioned: bool = False
    used: int | None = None
    processes: tuple[int, ...] = ()

    def is_model(self, model: str) -> bool:
        """
        Tell whether *model* names the model of this device: every word of it is one of
        *name*, as those of ``RTX 4090`` are in ``NVIDIA GeForce RTX 4090``.
        """
        return _words_of(model) <= _words_of(self.name)


def count_cpus() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def can_discover_devices() -> bool:
    """
    Tell whether an installed plugin finds accelerators. Where none does, nobody knows which
    ones this machine has.
    """
    from fal_core.front import can_discover_devices

    return can_discover_devices()


def discover_devices() -> list[Device]:
    """Return the accelerators of this machine, as far as installed plugins find them."""
    from fal_core.front import discover_devices

    return discover_devices()


def _words_of(text: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", text.lower()))
