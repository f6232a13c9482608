"""
The launching end of a worker's stream: calls become frames, frames become events.

A host starts a Python with the arguments of :data:`ARGUMENTS`, connects its
standard input and output, and makes a :class:`Worker` of them. That is all of
the protocol that a host has to know.
"""

from __future__ import annotations

import marshal
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import attrs

from fal_core.abilities import Driver
from fal_core.calls import Call
from fal_core.errors import HostError, WorkerLost
from fal_core.events import LogSink, Reply, Sink, State
from fal_core.reprs import show_fields
from fal_core.workers.bootstrap import ARGUMENTS, preamble
from fal_core.workers.crash_output import Remains
from fal_core.workers.driving import Reading
from fal_core.workers.events_in import Arrivals, finish
from fal_core.workers.execution import WorkerExecution
from fal_core.workers.frames_out import Deliveries
from fal_core_worker.stream import frames
from fal_core_worker.stream.streams import Stream

__all__ = ["ARGUMENTS", "Arenas", "Worker", "WorkerExecution"]

RUNNING = State("running")


@attrs.frozen
class Arenas:
    """
    Shared memory that a worker was started with.

    Attributes:
        inbound: The arena that the worker writes, as this end sees it.

        outbound: The arena that this end writes.

        page: A mapped page where the worker counts the items it has started.
    """

    __repr__ = show_fields

    inbound: Any
    outbound: Any
    page: Any


class Worker:
    """
    A worker, as the process that launched it sees it.

    It owns the two descriptors. Events of a call are delivered by whoever reads: see
    :class:`~fal_core.workers.driving.Reading`.

    Arguments:
        reader: What the worker writes can be read here.

        writer: What is written here the worker reads.

        lost: Called once when the stream has ended unasked; returns the reason.

        kill: Ends the worker and all it has started, at once.

        log: Takes output that belongs to no call.

        idle: Called when a call has ended and the worker can take another.

        ready: Called when the worker has said hello.

        away: Called with 1 when a call waits for the launching process to call a
            function for it, and with -1 when it has its answer.

        settings: ``multiplex``: how many calls run at once. ``kept``: the host
            itself ends what a lost worker leaves behind. ``arenas`` and
            ``page``: descriptors, where *arenas* is given. ``pipes``: descriptors,
            where *remains* is.

        remains: The pipes that the worker's output below Python goes through.
    """

    def __init__(
        self,
        reader: int,
        writer: int,
        *,
        lost: Callable[[], HostError] = WorkerLost,
        kill: Callable[[], None] | None = None,
        log: LogSink | None = None,
        idle: Callable[[Worker], None] | None = None,
        ready: Callable[[], None] | None = None,
        away: Callable[[int], None] | None = None,
        settings: Mapping[str, Any] | None = None,
        arenas: Arenas | None = None,
        remains: Remains | None = None,
    ) -> None:
        from fal_core.sealing.sources import worker_archive

        self.hello: Mapping[str, Any] | None = None
        self.stopped = False
        self._stream = Stream(reader, writer)
        if arenas is not None:
            self._stream.inbound = arenas.inbound
            self._stream.outbound = arenas.outbound
        self._shared = (settings or {}).get("multiplex", 1) > 1
        self._kill = kill
        self._idle = idle
        self._ready = ready
        self._arrivals = Arrivals(log=log, away=away)
        self._deliveries = Deliveries(self._stream)
        self.reading = Reading(
            self._stream,
            self._arrivals,
            greeted=self._greet,
            finished=self._finish,
            lost=lost,
            page=None if arenas is None else arenas.page,
            remains=remains,
        )
        self._calling = threading.Lock()
        self._channels = 0
        archive = worker_archive()
        configuration = marshal.dumps(dict(settings or {}), 2)
        # A process that has ended already is told of by the first call.
        with suppress(OSError):
            self._stream.write(preamble(archive.digest, archive.data, configuration))

    @property
    def gone(self) -> bool:
        """
        Whether its stream has ended.
        """
        return self.reading.gone

    @property
    def reason(self) -> HostError | None:
        """
        Why it has ended, where nobody asked it to.
        """
        return self.reading.reason

    @property
    def executions(self) -> Mapping[int, WorkerExecution]:
        """
        The calls that run, by their channels.
        """
        return self._arrivals.executions

    @property
    def prepared(self) -> bool:
        """
        Whether it has run a ``setup_function``.
        """
        return self._arrivals.prepared

    # -- what a host asks for ---------------------------------------------------

    def launch(self, call: Call, sink: Sink) -> WorkerExecution:
        """
        Start *call* in this worker.

        Raises:
            ConnectionError: The worker is gone, and the call has not started.
        """
        failure = None
        try:
            sink(RUNNING)
        except Exception as error:
            failure = error
        with self._calling:
            if self.reading.gone:
                raise ConnectionError("The worker is gone.")
            self._channels = channel = self._channels + 1
            execution = WorkerExecution(self, channel, call, sink)
            self._arrivals.executions[channel] = execution
            try:
                self._deliveries.send(channel, call)
            except (OSError, ValueError) as error:
                self.reading.read_banner()
                self._arrivals.executions.pop(channel, None)
                raise ConnectionError("The worker is gone.") from error
        if self._shared or not isinstance(sink, Driver):
            self.reading.follow()
        elif self.reading.followed:
            self.reading.unfollow()
        if failure is not None:
            execution.fail(failure)
        return execution

    def send_secrets(self, values: Mapping[str, str]) -> None:
        """
        Set environment variables in the worker, before a function is opened.
        """
        with suppress(OSError):
            self._stream.send(frames.SECRETS, data=marshal.dumps(dict(values), 2))

    def stop(self, *, watch: bool = True) -> None:
        """
        Let the worker end once it is idle.

        Arguments:
            watch: Notice its end, and let go of what is open for it. Otherwise whoever
                calls does so.
        """
        self.stopped = True
        try:
            self._stream.send(frames.STOP)
        except (OSError, ValueError):
            pass
        if watch:
            self.reading.follow()

    def kill(self) -> None:
        """
        End the worker and all it has started, at once.
        """
        self.stopped = True
        if self._kill is not None:
            self._kill()
        else:
            self.close()

    def close(self) -> None:
        """
        Close the stream, which ends the worker; calls that run end as lost.

        Any thread may. Where another one reads, it tells them, once it has read what
        there is.
        """
        self.stopped = True
        self.reading.close()

    def abandon(self) -> None:
        """
        Let go of a worker that belongs to the process this one was forked from.
        """
        self.stopped = True
        self.reading.abandon()

    def forget(self) -> None:
        """
        Close what is open for a worker that has ended, unless its end was noticed.
        """
        self.stopped = True
        self.reading.forget()

    def trim(self) -> bool:
        """
        Give shared memory back, at both ends, while the worker is idle.

        It returns whether some is left, which a later call may find free.
        """
        if self.gone or self.executions or not self._stream.shared_size:
            return False
        # What the worker has let go of it says in frames that wait here.
        self.reading.read_waiting()
        try:
            self._stream.trim()
            self._stream.send(frames.TRIM)
        except (OSError, ValueError):
            return False
        return self._stream.shared_size > 0

    # -- what is heard of it -----------------------------------------------------

    def follow(self) -> None:
        """
        Have the reader's thread deliver events from now on.
        """
        self.reading.follow()

    def _greet(self, frame: frames.Received) -> None:
        self.hello = marshal.loads(frame[4])
        if self._ready is not None:
            self._ready()

    def _finish(self, frame: frames.Received) -> None:
        """
        Take another call, or end, and then tell the call that has ended.
        """
        executions = self._arrivals.executions
        execution = executions.pop(frame[1], None)
        if execution is None:
            return
        self.stopped = self.stopped or frame[3] == frames.REPLACE
        if self.reading.followed and not executions:
            self.reading.unfollow()
        if self._idle is not None:
            self._idle(self)
        if self.stopped and not executions:
            self.stop()
        finish(execution, frame)

    # -- sending ------------------------------------------------------------------

    def send(self, kind: int, channel: int, a: int = 0) -> None:
        """
        Send a frame for the call of *channel*; nothing happens if the worker is gone.
        """
        with suppress(OSError, ValueError):
            self._stream.send(kind, channel, a)

    def answer(self, channel: int, reply: Reply) -> None:
        """
        Send the answer to a home call of *channel*; nothing happens if the worker is gone.
        """
        self._arrivals.count_home(-1)
        data, buffers = reply.sealed
        with suppress(OSError, ValueError):
            self._stream.send(
                frames.HOME_RESULT, channel, reply.number, int(reply.raised), data, buffers
            )
