"""The calls that run in a worker, as executions."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from fal_core.abilities import Driven
from fal_core.calls import Call
from fal_core.errors import Cancelled, HostError, WorkerLost
from fal_core.events import (
    Credit,
    Event,
    Exited,
    Message,
    Outcome,
    Reply,
    Sealed,
    Sink,
    Started,
)
from fal_core.facts import with_facts
from fal_core.sinks.call_sinks import GRACE, failed
from fal_core.sinks.event_thread import get_event_thread
from fal_core.workers.patient_streams import PatientStream
from fal_core_worker.opening.seals import PREFIX_SIZE
from fal_core_worker.stream import frames

_ENDED = Exited()


class Controls:
    """
    What an execution asks of the worker that runs its call.

    Attributes:
        drive: Delivers events on the calling thread until an execution has ended, or
            for some seconds.

        follow: Has the event thread deliver events from now on.

        kill: Ends the worker and all it has started, at once.
    """

    # Written out: attrs would compile it while a first call is waited for.
    __slots__ = ("_calls", "_stream", "drive", "follow", "kill")

    def __init__(
        self,
        stream: PatientStream,
        calls: HomeCalls,
        *,
        drive: Callable[[WorkerExecution, float | None], None],
        follow: Callable[[], None],
        kill: Callable[[], None],
    ) -> None:
        self._stream = stream
        self._calls = calls
        self.drive: Callable[[WorkerExecution, float | None], None] = drive
        self.follow: Callable[[], None] = follow
        self.kill: Callable[[], None] = kill

    def send(self, kind: int, channel: int, a: int) -> None:
        """Send a frame for the call of *channel*; nothing happens if the worker is gone."""
        with suppress(OSError, ValueError):
            self._stream.send(kind, channel, a)

    def answer(self, channel: int, reply: Reply) -> None:
        """Send the answer to a home call of *channel*; nothing happens if the worker is gone."""
        self._stream.wait_for_room()
        self._calls.count_home(-1)
        data, buffers = reply.sealed
        with suppress(OSError, ValueError):
            self._stream.send(
                frames.HOME_RESULT, channel, reply.number, int(reply.raised), data, buffers
            )


class HomeCalls(Protocol):
    """Counts the calls of a worker that wait for the launching process."""

    def count_home(self, change: int) -> None:
        """Count one more, or one less."""


class WorkerExecution(Driven):
    """
    A call that runs in a worker.

    Attributes:
        ended: Whether its last event has been delivered.

        cancelling: Whether it was cancelled.

        failure: What its sink has raised.
    """

    __slots__ = (
        "_controls",
        "_event",
        "call",
        "cancelling",
        "channel",
        "ended",
        "failure",
        "sink",
    )

    def __init__(self, controls: Controls, channel: int, call: Call, sink: Sink) -> None:
        self._controls = controls
        self.channel: int = channel
        self.call: Call = call
        self.sink: Sink = sink
        self.ended: bool = False
        self.failure: Exception | None = None
        self.cancelling: bool = False
        self._event: threading.Event | None = None

    @property
    def reference(self) -> str:
        return self.call.id

    def send(self, message: Message) -> None:
        if isinstance(message, Credit):
            self._controls.send(frames.CREDIT, self.channel, message.count)
        else:
            self._controls.answer(self.channel, message)

    def drain(self) -> None:
        self._controls.send(frames.DRAIN, self.channel, 0)

    def cancel(self, grace: float) -> None:
        if self.ended:
            return
        self.cancelling = True
        self._controls.send(frames.CANCEL, self.channel, 0)
        get_event_thread().after(grace, self._kill)

    def drive(self, timeout: float | None) -> None:
        self._controls.drive(self, timeout)

    def wait(self, timeout: float | None) -> None:
        """Wait until another thread has delivered the last event."""
        event = self._event
        if event is None:
            event = self._event = threading.Event()
        if not self.ended:
            event.wait(timeout)

    # -- events --------------------------------------------------------------------

    def deliver(self, event: Event) -> None:
        """Give *event* to the sink. What the sink raises ends the call."""
        if self.failure is not None:
            return
        try:
            self.sink(event)
        except Exception as error:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """End the call, as its sink has raised *error*."""
        self.failure = error
        self.cancel(GRACE)

    def finish(self, outcome: Outcome | None) -> None:
        """Deliver the outcome, and the end of the call. None where it was cancelled."""
        if outcome is None:
            self._exit(Exited(reason=Cancelled()))
        else:
            self.deliver(outcome)
            self._exit(_ENDED)

    def lose(self, reason: HostError, started: int | None) -> None:
        """
        Deliver the end of a call whose worker has ended.

        Arguments:
            started: How many items of a batch the worker had started, if it is known.
        """
        if started is not None and self.call.batch:
            self.deliver(Started(started))
        if self.cancelling:
            self._exit(Exited(reason=Cancelled()))
        else:
            if isinstance(reason, WorkerLost) and not reason.function:
                # The other calls of the worker have names of their own.
                reason = _named(reason, self.call.name)
            code = getattr(reason, "code", None)
            signal = getattr(reason, "signal", None)
            self._exit(Exited(code, signal, reason))

    def _exit(self, exited: Exited) -> None:
        try:
            self.sink(exited if self.failure is None else failed(self.failure))
        finally:
            self.ended = True
            if self._event is not None:
                self._event.set()

    def _kill(self) -> None:
        if not self.ended:
            self._controls.kill()
            # The driver of the call may have given it up. Its pool has to learn of the end.
            self._controls.follow()


def _named(lost: WorkerLost, function: str) -> WorkerLost:
    """Return *lost* as the error of one call."""
    named = with_facts(lost, function=function)
    named.__cause__ = lost.__cause__
    return named


def sealed_from(payload: Any) -> Sealed:
    """
    Return the sealed object that a frame's *payload* is: bytes, or a pair with buffers.

    Raises:
        UnreadableFrame: It is too short to be one.
    """
    sealed = Sealed(*payload) if type(payload) is tuple else Sealed(payload)
    if len(sealed.data) < PREFIX_SIZE:
        raise frames.UnreadableFrame("a value is cut short")
    return sealed


def outcome_from(frame: frames.Received) -> Outcome | None:
    """
    Return the outcome that *frame* holds. None if the call was cancelled.

    Raises:
        UnreadableFrame: It holds none.
    """
    how = frame[2]
    if how == frames.ENDED_CANCELLED:
        return None
    if how > frames.ENDED_CANCELLED:
        raise frames.UnreadableFrame(f"a call has ended in an unknown way, {how}")
    return Outcome(sealed_from(frame[4]), how == frames.ENDED_RAISED)
