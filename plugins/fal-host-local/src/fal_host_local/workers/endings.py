"""Endings: why a worker was lost. Only a worker that is lost needs them."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from fal_core.environments import Command
from fal_core.errors import HostError, OutOfMemory, WorkerLost
from fal_core.facts import with_facts
from fal_core.machines import Machine, out_of_memory
from fal_core.workers import reason_of_exit
from fal_host_local.workers.keepers import Keeper, memory_kills

if TYPE_CHECKING:
    from fal_host_local.workers.words import Words

#: Seconds that the process of a worker may take to end once its stream has.
_PATIENCE = 10.0


def why_lost(
    keeper: Keeper,
    number: int,
    command: Command,
    *,
    kills: int,
    words: Words | None,
    machine: Machine | None,
) -> HostError:
    """
    Wait for the process of a worker to exit and return the error that describes how it ended.

    Arguments:
        number: What the keeper knows the worker by.

        kills: What :func:`memory_kills` returned when it was started.

        words: What the program around it prints; None where there is none.

        machine: What that program has limited it to. None where nothing was asked for.
    """
    status = keeper.wait(number, _PATIENCE)
    said = "" if words is None else words.finish()
    if status is None:
        return WorkerLost(detail=keeper.end() or said or "Its stream was closed.")
    code = os.waitstatus_to_exitcode(status)
    if code and command.stop_argv is not None:
        # What was around the worker has ended, and may have left it where no signal reaches.
        keeper.kill(number)
    reason = None if command.explain is None else command.explain(code, said)
    if reason is not None:
        return reason
    if words is not None:
        lost = reason_of_exit(code, said)
    elif code < 0:
        lost = WorkerLost(signal=-code)
    else:
        lost = WorkerLost(code)
    is_killed = lost.signal == signal.SIGKILL and not isinstance(lost, OutOfMemory)
    _, own_kills, _ = keeper.used(number)
    if not is_killed or not (own_kills or memory_kills(anywhere=words is not None) > kills):
        return lost
    # All that would have told whose memory it was has been killed as well.
    if words is None or machine is None or machine.memory is None:
        return OutOfMemory(signal=lost.signal, detail=said)
    return out_of_memory(lost, machine)


def with_peak(reason: HostError, peak: int, machine: Machine | None) -> HostError:
    """
    Return *reason* with the most bytes that the worker has used, if it was killed.

    Arguments:
        machine: What the worker was limited to. None where it had all of this one.
    """
    is_killed = isinstance(reason, WorkerLost) and reason.signal == signal.SIGKILL
    if not is_killed or not peak:
        return reason
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    memory = None if machine is None else machine.memory
    return with_facts(reason, peak=peak, memory=memory or whole)
