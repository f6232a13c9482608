"""
Verdicts: which limit has ended a worker, and which machine type has more.
"""

from __future__ import annotations

from fal_core.errors import HostError, OutOfMemory, WorkerLost
from fal_core.machines import Machine, list_machines
from fal_host_local.limits.limits import size


def find_larger(machine: Machine, used: int) -> Machine | None:
    """
    Return the smallest machine with more memory than *used*, and with GPUs as *machine* has
    them; None if no installed plugin lists one.
    """
    larger = [
        each
        for each in list_machines()
        if each.memory is not None
        and each.memory > used
        and (each.gpus, each.gpu_model) == (machine.gpus, machine.gpu_model)
    ]
    return min(larger, key=lambda each: each.memory or 0, default=None)


def judge(machine: Machine, peak: int, kills: int, reason: HostError) -> HostError:
    """
    Return the error of a worker that ran with the limits of *machine*.

    Arguments:
        peak: The most bytes that it has used.

        kills: How many of its processes were killed because of that.

        reason: The error of a worker without limits.
    """
    if not kills or not isinstance(reason, WorkerLost) or machine.memory is None:
        return reason
    # A cgroup lets nothing go beyond its limit, which the last attempt would have.
    most = max(peak, machine.memory)
    larger = find_larger(machine, most)
    used = size(peak) or "more"
    sentence = f"It used {used}, and machine type {machine.name!r} has {size(machine.memory)}."
    if larger is not None:
        sentence += f" The next larger one is {larger.name!r}, with {size(larger.memory)}."
    return OutOfMemory(
        reason.code, reason.signal, sentence, peak, None if larger is None else larger.name
    )
