"""
Endings: why a worker was lost.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from fal_core.errors import HostError, OutOfMemory, WorkerLost
from fal_core.workers import reason_of_exit
from fal_host_local.workers.keepers import Keeper, memory_kills

if TYPE_CHECKING:
    from fal_host_local.workers.words import Words

#: Seconds that the process of a worker may take to end once its stream has.
_PATIENCE = 10.0


class Ending:
    """
    The end of a worker.

    Arguments:
        number: What the keeper knows it by.

        kills: What :func:`memory_kills` returned when it was started.

        explain: See :class:`~fal_core.environments.Command`.

    Attributes:
        words: What the program around it prints; None where there is none.
    """

    def __init__(
        self,
        keeper: Keeper,
        number: int,
        kills: int,
        explain: Callable[[int, str], HostError | None] | None,
    ) -> None:
        self._keeper = keeper
        self._number = number
        self._kills = kills
        self._explain = explain
        self.words: Words | None = None

    def why_lost(self) -> HostError:
        """
        Wait for the process of the worker to exit and return the error that describes how
        it ended.
        """
        status = self._keeper.wait(self._number, _PATIENCE)
        said = "" if self.words is None else self.words.finish()
        if status is None:
            return WorkerLost(detail=said or "Its stream was closed.")
        code = os.waitstatus_to_exitcode(status)
        reason = None if self._explain is None else self._explain(code, said)
        if reason is not None:
            return reason
        if self.words is not None:
            lost = reason_of_exit(code, said)
        elif code < 0:
            lost = WorkerLost(signal=-code)
        else:
            lost = WorkerLost(code)
        is_killed = lost.signal == signal.SIGKILL and not isinstance(lost, OutOfMemory)
        if is_killed and memory_kills() > self._kills:
            return OutOfMemory(signal=lost.signal, detail=said)
        return lost
