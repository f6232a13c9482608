"""Verdicts: which limit has ended a worker, and which machine type has more."""

from __future__ import annotations

from fal_core.errors import HostError, WorkerLost
from fal_core.machines import Machine, out_of_memory


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
    return out_of_memory(reason, machine, peak)
