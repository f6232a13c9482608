"""
Arrivals: what a worker writes, delivered as the events of its calls.
"""

from __future__ import annotations

import marshal
import threading
from collections.abc import Callable
from typing import Any

from fal_core.errors import Cancelled, HostError
from fal_core.events import (
    Exited,
    HomeCall,
    Item,
    Level,
    Log,
    LogSink,
    Outcome,
    Ready,
    Returned,
    Sealed,
    Started,
)
from fal_core.workers.execution import WorkerExecution
from fal_core_worker.stream import frames
from fal_core_worker.stream.frames import LEVELS, PARTIAL

ENDED = Exited()
_LEVELS: tuple[Level, ...] = LEVELS  # type: ignore[assignment]  # plain text at the other end


class Arrivals:
    """
    The calls that run in a worker, and who else hears of it.

    Arguments:
        log: Takes output that belongs to no call.

        away: Called with 1 when a call waits for the launching process, and with
            -1 when it has its answer.

    Attributes:
        executions: The calls that run, by their channels.

        prepared: Whether the setup of a function has run.
    """

    __slots__ = ("_away", "_calls_home", "_counting", "_log", "executions", "prepared")

    def __init__(self, *, log: LogSink | None, away: Callable[[int], None] | None) -> None:
        self.executions: dict[int, WorkerExecution] = {}
        self.prepared = False
        self._log = log
        self._away = away
        self._calls_home = 0
        self._counting = threading.Lock()

    def deliver(self, frame: frames.Received) -> None:
        """
        Give the event that *frame* is to its call; outcomes are for :func:`finish`.
        """
        kind, channel, a, b, payload = frame
        execution = self.executions.get(channel)
        if kind == frames.LOG:
            self._deliver_log(payload)
        elif execution is None:
            return
        elif kind == frames.ITEM:
            execution.tell(Item(_sealed(payload), a, b))
        elif kind == frames.PREPARED:
            self.prepared = True
        elif kind == frames.STARTED:
            execution.tell(Started(a))
        elif kind == frames.RETURNED:
            execution.tell(Returned(a))
        elif kind == frames.HOME_CALL:
            self.count_home(1)
            execution.tell(HomeCall(a, _sealed(payload)))
        elif kind == frames.READY:
            execution.tell(Ready(marshal.loads(payload)))

    def report(self, log: Log) -> None:
        """
        Give a line that no call printed to the calls that run, or to the host.
        """
        for execution in list(self.executions.values()):
            execution.tell(log)
        if not self.executions and self._log is not None:
            self._log(log)

    def count_home(self, change: int) -> None:
        """
        Count the calls that wait for the launching process to call a function.
        """
        with self._counting:
            # A late answer to a worker that is gone has been counted already.
            change = max(change, -self._calls_home)
            self._calls_home += change
        if self._away is not None and change:
            self._away(change)

    def forget_home(self) -> None:
        """
        Count no call any more: their worker is gone.
        """
        self.count_home(-self._calls_home)

    def take_all(self) -> list[WorkerExecution]:
        """
        Return the calls that run, which hear of no frame any more.
        """
        executions, self.executions = self.executions, {}
        return list(executions.values())

    def _deliver_log(self, payload: bytes) -> None:
        for level, when, channel, index, lines in marshal.loads(payload):
            execution = self.executions.get(channel)
            name = request = None
            if execution is not None:
                name = execution.call.id
                if isinstance(index, str):
                    request = index or None
                elif execution.call.batch:
                    name = f"{name}/{index}"
            for line in lines.split("\n"):
                partial = level >= PARTIAL
                log = Log(line, _LEVELS[level % PARTIAL], "USER", when, name, request, partial)
                if execution is not None:
                    execution.tell(log)
                else:
                    self.report(log)


def finish(execution: WorkerExecution, frame: frames.Received) -> None:
    """
    Tell *execution* the end that *frame*, an outcome, brings.
    """
    how = frame[2]
    if how == frames.ENDED_CANCELLED:
        execution.finish(Exited(reason=Cancelled()))
    else:
        execution.tell(Outcome(_sealed(frame[4]), how == frames.ENDED_RAISED))
        execution.finish(ENDED)


def lose(execution: WorkerExecution, reason: HostError, started: int | None) -> None:
    """
    Tell *execution* that its worker has ended.

    Arguments:
        started: How many items of a batch the worker had started, if it is known.
    """
    if started is not None and execution.call.batch:
        execution.tell(Started(started))
    if execution.cancelling:
        execution.finish(Exited(reason=Cancelled()))
    else:
        code = getattr(reason, "code", None)
        signal = getattr(reason, "signal", None)
        execution.finish(Exited(code, signal, reason))


def _sealed(payload: Any) -> Sealed:
    if type(payload) is tuple:
        return Sealed(*payload)
    return Sealed(payload)
