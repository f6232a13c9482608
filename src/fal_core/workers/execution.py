"""
Executions: the calls that run in a worker.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from fal_core.abilities import Driven
from fal_core.calls import Call
from fal_core.events import Credit, Event, Exited, Message, Sink
from fal_core.sinks.event_thread import get_reader
from fal_core.sinks.handlers import GRACE, failed
from fal_core_worker.stream import frames

if TYPE_CHECKING:
    from fal_core.workers.worker import Worker


class WorkerExecution(Driven):
    """
    A call that runs in a worker.
    """

    __slots__ = (
        "_event",
        "call",
        "cancelling",
        "channel",
        "ended",
        "failure",
        "sink",
        "worker",
    )

    def __init__(self, worker: Worker, channel: int, call: Call, sink: Sink) -> None:
        self.worker = worker
        self.channel = channel
        self.call = call
        self.sink = sink
        self.ended = False
        self.failure: Exception | None = None
        self.cancelling = False
        self._event: threading.Event | None = None

    @property
    def reference(self) -> str:
        return self.call.id

    def send(self, message: Message) -> None:
        if isinstance(message, Credit):
            self.worker.send(frames.CREDIT, self.channel, message.count)
        else:
            self.worker.answer(self.channel, message)

    def drain(self) -> None:
        self.worker.send(frames.DRAIN, self.channel)

    def cancel(self, grace: float) -> None:
        if self.ended:
            return
        self.cancelling = True
        self.worker.send(frames.CANCEL, self.channel)
        get_reader().after(grace, self._kill)

    def drive(self, timeout: float | None) -> None:
        self.worker.reading.drive(self, timeout)

    def wait(self, timeout: float | None) -> None:
        """
        Wait until another thread has delivered the end.
        """
        event = self._event
        if event is None:
            event = self._event = threading.Event()
        if not self.ended:
            event.wait(timeout)

    def tell(self, event: Event) -> None:
        """
        Deliver *event*. What the sink raises ends the call, and its last event tells it.
        """
        if self.failure is not None:
            return
        try:
            self.sink(event)
        except Exception as error:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """
        End the call, for its sink raised *error*.
        """
        self.failure = error
        self.cancel(GRACE)

    def finish(self, exited: Exited) -> None:
        """
        Deliver the last event.
        """
        try:
            self.sink(exited if self.failure is None else failed(self.failure))
        finally:
            self.ended = True
            if self._event is not None:
                self._event.set()

    def _kill(self) -> None:
        if not self.ended:
            self.worker.kill()
