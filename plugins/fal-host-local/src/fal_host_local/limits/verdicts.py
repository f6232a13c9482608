"""
Verdicts: which limit has ended a worker, and which machine type has more.
"""

from __future__ import annotations

from fal_core.errors import HostError, OutOfMemory, WorkerLost
from fal_core.machines import Machine, smallest_machine
from fal_core.reprs import show_size


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
    larger = smallest_machine(most, gpus=machine.gpus, gpu_model=machine.gpu_model)
    has = show_size(machine.memory)
    sentence = f"It used {show_size(peak)}, and machine type {machine.name!r} has {has}."
    if larger is not None and larger.memory is not None:
        more = show_size(larger.memory)
        sentence += f" The next larger one is {larger.name!r}, with {more}."
    return OutOfMemory(
        reason.code, reason.signal, sentence, peak, None if larger is None else larger.name
    )
