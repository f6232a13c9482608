"""Deadlines: ending a call when its time is up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from fal_core.calling.attempts import Launch
from fal_core.calling.late_executions import LateExecution
from fal_core.calls import Call
from fal_core.errors import Timeout
from fal_core.events import Event, Exited, Outcome, Sink, State
from fal_core.hosts import Execution
from fal_core.sinks.event_thread import Timer, get_event_thread
from fal_core.sinks.requests import try_cancel
from fal_core.sinks.sinks_around import SinkAround

#: Seconds beyond its grace after which a call that was ended is given up.
_PATIENCE = 5.0


class Deadline:
    """
    The moment at which the time of a call is up.

    Arguments:
        seconds: How many the call may take, from now on.

        expire: Called then on the event thread; it must not block.
    """

    __slots__ = ("_seconds", "_timer")

    def __init__(self, seconds: float, expire: Callable[[], None]) -> None:
        self._seconds = seconds
        self._timer: Timer = get_event_thread().after(seconds, expire)

    def stop(self) -> None:
        """Let nothing happen at that moment; it may have passed."""
        get_event_thread().forget(self._timer)

    def error(self, host: str, *, queued: bool = False, detail: str = "") -> Timeout:
        """
        Return the error of a call on *host* whose time is up.

        Arguments:
            queued: Whether it still waited for a worker.

            detail: What is known where it was not ended, as a sentence.
        """
        return Timeout(self._seconds, queued, host, detail)


class TimedExecution(LateExecution, SinkAround):
    """
    The execution of a call that has a deadline, and the sink around its sink.

    At the deadline it ends the call, whose end then has the reason ``Timeout``. That end
    comes in any case: a call that does not end within its grace is given up.

    Arguments:
        timeout: Seconds that the call may take.

        grace: Seconds that it has to end of its own accord after that.

        from_start: Count from the moment at which the host runs the call, not from now.
    """

    def __init__(
        self, call: Call, sink: Sink, timeout: float, *, grace: float, from_start: bool
    ) -> None:
        LateExecution.__init__(self, call.id)
        SinkAround.__init__(self, sink)
        self._timeout = timeout
        self._grace_at_deadline = grace
        self._deadline: Deadline | None = None
        self._expired = False
        self._is_queued = False
        # What is known of a call that does not end.
        self._detail = ""
        self._given_up_at: float | None = None
        # The event thread and the host's may both deliver the end.
        self._delivering = threading.RLock()
        if not from_start:
            self._start_clock()

    def __call__(self, event: Event) -> None:
        with self._delivering:
            if self.exited is None:
                SinkAround.__call__(self, event)

    def drive(self, timeout: float | None) -> None:
        if self._given_up_at is not None:
            left = max(0.0, self._given_up_at - time.monotonic())
            timeout = left if timeout is None else min(timeout, left)
        super().drive(timeout)

    def launched(self, inner: Execution) -> None:
        """Take note of the execution of the call, which may have ended."""
        if not self.ended:
            self.settle(inner)
        elif self._detail:
            # It was given up meanwhile.
            try_cancel(self.host_name, inner, self._grace_at_deadline)

    def stop(self) -> None:
        """Forget the deadline of a call that was not launched, or has ended."""
        if self._deadline is not None:
            self._deadline.stop()

    # -- events --------------------------------------------------------------------

    def on_state(self, state: State) -> None:
        self._is_queued = state.name == "queued"
        if self._deadline is None and state.name == "running":
            self._start_clock()
        self.sink(state)

    def on_outcome(self, outcome: Outcome) -> None:
        if not self._expired:
            self.sink(outcome)

    def on_exited(self, exited: Exited) -> None:
        if self._expired and self._deadline is not None:
            error = self._deadline.error(
                self.host_name, queued=self._is_queued, detail=self._detail
            )
            exited = Exited(reason=error)
        self.exited: Exited | None = exited
        self.stop()
        sink = self.sink
        self.sink: Sink = _ignore
        # Nothing large is kept by a cycle of an execution and its sink.
        self.settle(None)
        sink(exited)

    # -- the deadline --------------------------------------------------------------

    def _start_clock(self) -> None:
        self._deadline = Deadline(self._timeout, self._expire)
        longest = self._timeout + self._grace_at_deadline + _PATIENCE
        self._given_up_at = time.monotonic() + longest

    def _expire(self) -> None:
        with self._delivering:
            if self.ended:
                return
            self._expired = True
            # A host that launches the call yet is not asked to end it.
            patience = 0.0 if self.inner is None else _PATIENCE
            patience += self._grace_at_deadline
            get_event_thread().after(patience, lambda: self._give_up(patience))
        self._grace = self._grace_at_deadline
        self.cancelled: bool = True
        self._pass_on(self._end)

    def _end(self, inner: Execution) -> None:
        if not try_cancel(self.host_name, inner, self._grace_at_deadline):
            self._give_up(0.0)

    def _give_up(self, patience: float) -> None:
        if self.ended:
            return
        host = f"Host {self.host_name!r}" if self.host_name else "Its host"
        if self.inner is None:
            self._detail = f"{host} has not returned from its launch, and may begin it yet."
        elif not patience:
            self._detail = f"{host} could not end it: it may go on there."
        else:
            self._detail = (
                f"{host} was told to end it, and has not said for {patience:g} s that it has: "
                "it may go on there."
            )
        self(Exited())


def with_deadline(
    launch: Launch, timeout: float, *, grace: float, from_start: bool = False
) -> Launch:
    """
    Return *launch* for calls that are ended after *timeout* seconds.

    Arguments:
        grace: Seconds that a call has then to end of its own accord.

        from_start: Count from the moment at which the host runs the call, not from its
            launch.
    """

    def launch_timed(call: Call, sink: Sink) -> Execution:
        timed = TimedExecution(call, sink, timeout, grace=grace, from_start=from_start)
        try:
            inner = launch(call, timed.for_host())
            timed.check_execution(inner)
        except BaseException:
            timed.stop()
            raise
        timed.launched(inner)
        return timed

    return launch_timed


def _ignore(event: Event) -> None:
    """Take an event that comes after the last one."""
