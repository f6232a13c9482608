"""Frames of a worker, delivered as the events of its calls."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fal_core.calls import Call
from fal_core.events import HomeCall, Item, Level, Log, LogSink, Ready, Returned, Started, State
from fal_core.workers.execution import WorkerExecution, sealed_from
from fal_core.workers.payloads_in import unpack_lines, unpack_texts
from fal_core_worker.stream import frames
from fal_core_worker.stream.frames import UnreadableFrame

#: How many lines are kept that were said before the first call of a worker.
_MOST_SAID = 100
#: How many ended calls are remembered whose threads go on.
_MOST_LEFT = 10_000

RUNNING = State("running")

_LEVELS: tuple[Level, ...] = frames.LEVELS  # type: ignore[assignment]  # plain text there


class RunningCalls:
    """
    The calls that run in a worker.

    Arguments:
        log: Takes output that belongs to no call.

    Attributes:
        away: Called with 1 when a call waits for the launching process, and with
            -1 when it has its answer.

        executions: The calls, by their channels.

        greeted: Whether the worker has said hello.

        prepared: Whether the setup of a function has run.

        starting: Those of the calls that have not been told that they run.
    """

    __slots__ = (
        "_calls_home",
        "_counting",
        "_left",
        "_log",
        "_said",
        "away",
        "executions",
        "greeted",
        "prepared",
        "starting",
    )

    def __init__(self, *, log: LogSink | None) -> None:
        self.away: Callable[[int], None] | None = None
        self.executions: dict[int, WorkerExecution] = {}
        self.greeted: bool = False
        self.prepared: bool = False
        self._said: deque[Log] = deque(maxlen=_MOST_SAID)
        self.starting: dict[int, WorkerExecution] = {}
        self._log = log
        self._calls_home = 0
        # The ids of ended calls whose threads go on, and whether they were batches.
        self._left: OrderedDict[int, tuple[str, bool]] = OrderedDict()
        self._counting = threading.Lock()

    def deliver(self, frame: frames.Received) -> None:
        """
        Deliver the event that *frame* holds; outcomes are for :meth:`WorkerExecution.finish`.

        A frame of a call that does not run, or no longer, is ignored.

        Raises:
            UnreadableFrame: It holds none.
        """
        kind, channel, a, b, payload = frame
        execution = self.executions.get(channel)
        if kind == frames.LOG:
            self._deliver_log(payload)
        elif execution is None:
            return
        elif kind == frames.ITEM:
            _check_items(execution, a + b)
            execution.deliver(Item(sealed_from(payload), a, b))
        elif kind == frames.PREPARED:
            self.prepared = True
            self.tell_running()
        elif kind == frames.STARTED:
            _check_items(execution, a)
            execution.deliver(Started(a))
        elif kind == frames.RETURNED:
            _check_items(execution, a)
            execution.deliver(Returned(a))
        elif kind == frames.HOME_CALL:
            event = HomeCall(a, sealed_from(payload))
            self.count_home(1)
            execution.deliver(event)
        elif kind == frames.READY:
            execution.deliver(Ready(unpack_texts(_plain(payload))))
        else:
            raise UnreadableFrame(f"no worker sends frames of kind {kind}")

    def waits(self, call: Call) -> bool:
        """Tell whether *call* does not run yet, as the worker is not up or runs its setup."""
        # The setup is part of the start, but for a service, which tells when it is ready.
        if call.setup is None or call.gateway.serve or call.gateway.exposed_port is not None:
            return not self.greeted
        return not self.prepared

    def add_starting(self, execution: WorkerExecution) -> None:
        """Add a call that is to be told once it runs."""
        with self._counting:
            self.starting[execution.channel] = execution
            said, self._said = self._said, deque(maxlen=_MOST_SAID)
        for log in said:
            execution.deliver(log)

    def tell_running(self) -> None:
        """Tell the calls that run by now, unless they were told."""
        for channel, execution in list(self.starting.items()):
            if self.waits(execution.call):
                continue
            # Two threads may do this; one of them tells it.
            is_mine = self.starting.pop(channel, None) is not None
            if is_mine and channel in self.executions:
                execution.deliver(RUNNING)

    def say(self, log: Log) -> None:
        """Give a line of the host to the calls that wait, or else to the first one."""
        with self._counting:
            waiting = list(self.starting.values())
            if not (waiting or self.greeted):
                self._said.append(log)
        for execution in waiting:
            execution.deliver(log)

    def report(self, log: Log) -> None:
        """Give a line that no call has printed to all calls that run, or else to the host."""
        for execution in list(self.executions.values()):
            execution.deliver(log)
        if not self.executions and self._log is not None:
            self._log(log)

    def note_left(self, execution: WorkerExecution) -> None:
        """Remember an ended call whose threads go on: what they print names it."""
        self._left[execution.channel] = execution.call.id, bool(execution.call.batch)
        if len(self._left) > _MOST_LEFT:
            self._left.popitem(last=False)

    def count_home(self, change: int) -> None:
        """Count the calls that wait for the launching process to call a function."""
        with self._counting:
            # A late answer to a worker that is gone has been counted already.
            change = max(change, -self._calls_home)
            self._calls_home += change
        if self.away is not None and change:
            self.away(change)

    def forget_home(self) -> None:
        """Set the count of home calls to 0: the worker is gone."""
        self.count_home(-self._calls_home)

    def take_all(self) -> list[WorkerExecution]:
        """Remove all calls and return them."""
        self.starting.clear()
        executions, self.executions = self.executions, {}
        return list(executions.values())

    def _deliver_log(self, payload: Any) -> None:
        for level, when, channel, index, lines in unpack_lines(_plain(payload)):
            execution = self.executions.get(channel)
            name: str | None
            request = None
            if execution is not None:
                name, is_batch = execution.call.id, bool(execution.call.batch)
            else:
                name, is_batch = self._left.get(channel, (None, False))
            if isinstance(index, str):
                request = index or None
            elif is_batch:
                name = f"{name}/{index}"
            logger, is_partial, known = None, level & frames.PARTIAL != 0, _LEVELS[level & 15]
            texts: Iterable[str]
            if level & frames.RECORD:
                logger, _, text = lines.partition("\n")
                texts = (text,)
            else:
                texts = _split(lines)
            for line in texts:
                log = Log(line, known, "USER", when, name, request, is_partial, logger)
                if execution is not None:
                    execution.deliver(log)
                elif not channel:
                    self.report(log)
                elif self._log is not None:
                    # A thread that an ended call has left behind: no other call's business.
                    self._log(log)


def _check_items(execution: WorkerExecution, count: int) -> None:
    """Raise an error if *execution* is a batch without as many items."""
    if execution.call.batch and count > execution.call.batch:
        batch = execution.call.batch
        raise UnreadableFrame(f"a frame is about item {count} of a batch of {batch}")


def _plain(payload: Any) -> Any:
    """Return a payload that has no buffers."""
    if type(payload) is tuple:
        raise UnreadableFrame("a frame that has none carries buffers")
    return payload


def _split(lines: str) -> Iterator[str]:
    """Yield *lines* one by one: a list of many takes far more memory than they do."""
    start = 0
    while (end := lines.find("\n", start)) >= 0:
        yield lines[start:end]
        start = end + 1
    yield lines[start:]
