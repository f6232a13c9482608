"""
This end of the stream to a worker: calls are sent as frames, and frames arrive as events.

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
from fal_core.events import LogSink, Reply, Sink
from fal_core.reprs import show_fields
from fal_core.workers.bootstrap import ARGUMENTS, preamble
from fal_core.workers.crash_output import CrashOutput
from fal_core.workers.driving import StreamReader
from fal_core.workers.events_in import RUNNING, RunningCalls
from fal_core.workers.execution import Controls, WorkerExecution, outcome_from
from fal_core.workers.frames_out import CallSender
from fal_core.workers.payloads_in import unpack_hello
from fal_core_worker.stream import frames
from fal_core_worker.stream.frames import UnreadableFrame
from fal_core_worker.stream.streams import FrameStream

__all__ = ["ARGUMENTS", "Arenas", "Worker", "WorkerExecution"]


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

    It owns the two descriptors. Events of a call are delivered by the thread that waits
    for it, or else by the event thread: see
    :class:`~fal_core.workers.driving.StreamReader`.

    Arguments:
        reader: The descriptor that the worker's output is read from.

        writer: The descriptor that the worker's input is written to.

        lost: Called once when the stream has ended unasked; returns the reason.

        kill: Ends the worker and all it has started, at once.

        log: Takes lines that belong to no call.

        idle: Called when a call has ended and the worker can take another.

        ready: Called when the worker has said hello.

        away: Called with 1 when a call waits for the launching process to call a
            function for it, and with -1 when it has its answer.

        settings: ``multiplex``: how many calls run at once. ``kept``: the host
            itself ends the processes that a lost worker leaves behind. ``arenas``
            and ``page``: descriptors, if *arenas* is given. ``pipes``: descriptors,
            if *crash_output* is given. ``logging``: the option of that name.

        crash_output: The pipes that the worker's output below Python goes through.

        largest: The largest value that it may send, in bytes. None for any that this
            machine has memory for.
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
        crash_output: CrashOutput | None = None,
        largest: int | None = None,
    ) -> None:
        from fal_core.sealing.sources import worker_archive

        self.hello: Mapping[str, Any] | None = None
        self.stopped = False
        self._stream = FrameStream(reader, writer)
        if largest is not None:
            self._stream.largest = largest
        if arenas is not None:
            self._stream.inbound = arenas.inbound
            self._stream.outbound = arenas.outbound
        self._shared = (settings or {}).get("multiplex", 1) > 1
        self._kill = kill
        self._idle = idle
        self._ready = ready
        self._calls = RunningCalls(log=log, away=away)
        self._sender = CallSender(self._stream)
        self.stream_reader = StreamReader(
            self._stream,
            self._calls,
            greeted=self._greet,
            finished=self._finish,
            kill=self.kill,
            lost=lost,
            page=None if arenas is None else arenas.page,
            crash_output=crash_output,
        )
        self._controls = Controls(
            send=self._send, answer=self._answer, drive=self.stream_reader.drive, kill=self.kill
        )
        self._calling = threading.Lock()
        self._retired = False
        self._channels = 0
        archive = worker_archive()
        configuration = marshal.dumps(dict(settings or {}), 2)
        # If the process has ended already, the first call finds out.
        with suppress(OSError):
            self._stream.write(preamble(archive.digest, archive.data, configuration))

    @property
    def gone(self) -> bool:
        """
        Whether its stream has ended.
        """
        return self.stream_reader.gone

    @property
    def reason(self) -> HostError | None:
        """
        Why it has ended, if nobody asked it to.
        """
        return self.stream_reader.reason

    @property
    def executions(self) -> Mapping[int, WorkerExecution]:
        """
        The calls that run, by their channels.
        """
        return self._calls.executions

    @property
    def prepared(self) -> bool:
        """
        Whether it has run a ``setup_function``.
        """
        return self._calls.prepared

    # -- what a host asks for ---------------------------------------------------

    def launch(self, call: Call, sink: Sink) -> WorkerExecution:
        """
        Start *call* in this worker.

        Raises:
            ConnectionError: The worker is gone, or does not fit the call, see :meth:`fits`.
                The call has not started.
        """
        if call.sources and not self.fits(call):
            self.retire()
            raise ConnectionError("The worker has other versions of local modules.")
        failure = None
        # The setup is part of the start, but for a service, which tells when it is ready.
        starts = call.setup is not None and not self.prepared and not _is_service(call)
        try:
            if not starts:
                sink(RUNNING)
        except Exception as error:
            failure = error
        with self._calling:
            if self.stream_reader.gone or self._retired:
                raise ConnectionError("The worker is gone.")
            self._channels = channel = self._channels + 1
            execution = WorkerExecution(self._controls, channel, call, sink)
            self._calls.executions[channel] = execution
            if starts:
                self._calls.starting[channel] = execution
            try:
                self._sender.send(channel, call)
            except (OSError, ValueError) as error:
                self.stream_reader.read_banner()
                self._calls.executions.pop(channel, None)
                raise ConnectionError("The worker is gone.") from error
        if self._shared or not isinstance(sink, Driver):
            self.stream_reader.follow()
        else:
            sink.left_to_driver = True
            if self.stream_reader.followed:
                self.stream_reader.unfollow()
        if failure is not None:
            execution.fail(failure)
        if starts and self.prepared:
            # Another call has run the setup meanwhile.
            self._calls.tell_prepared()
        return execution

    def fits(self, call: Call) -> bool:
        """
        Tell whether no local module that comes with *call* has come in another version.

        A worker that has imported one goes on with it, as any process does. :meth:`launch`
        retires such a worker.
        """
        return self._sender.fits(call.sources)

    def send_secrets(self, values: Mapping[str, str]) -> None:
        """
        Set environment variables in the worker, before a function is opened.
        """
        with suppress(OSError):
            self._stream.send(frames.SECRETS, data=marshal.dumps(dict(values), 2))

    def retire(self) -> None:
        """
        Let the worker end after the calls that it has; it takes no other.
        """
        with self._calling:
            self.stopped = self._retired = True
            is_idle = not self.executions
        if is_idle:
            self.stop()

    def stop(self, *, watch: bool = True) -> None:
        """
        Let the worker end once it is idle.

        Arguments:
            watch: Notice its end and close what is open for it. Otherwise the caller
                does so, with :meth:`forget`.
        """
        self.stopped = True
        try:
            self._stream.send(frames.STOP)
        except (OSError, ValueError):
            pass
        if watch:
            self.stream_reader.follow()

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

        Any thread may call it. If another thread reads, that one ends the calls, after it
        has read what is there.
        """
        self.stopped = True
        self.stream_reader.close()

    def abandon(self) -> None:
        """
        Close the stream of a worker that belongs to the parent process, after a fork.
        """
        self.stopped = True
        self.stream_reader.abandon()

    def forget(self) -> None:
        """
        Close everything that is open for a worker whose end was not noticed.
        """
        self.stopped = True
        self.stream_reader.forget()

    def trim(self) -> bool:
        """
        Free shared memory at both ends, while the worker is idle.

        It returns whether some is left, which may be freed later.
        """
        if self.gone or self.executions or not self._stream.shared_size:
            return False
        # The worker announces what it no longer uses in frames that may not be read yet.
        self.stream_reader.read_waiting()
        try:
            self._stream.trim()
            self._stream.send(frames.TRIM)
        except (OSError, ValueError):
            return False
        return self._stream.shared_size > 0

    # -- what the worker sends ---------------------------------------------------

    def follow(self) -> None:
        """
        Have the event thread deliver events from now on.
        """
        self.stream_reader.follow()

    def _greet(self, frame: frames.Received) -> None:
        if self.hello is not None:
            raise UnreadableFrame("the worker describes itself twice")
        self.hello = unpack_hello(frame[4])
        if self._ready is not None:
            self._ready()

    def _finish(self, frame: frames.Received) -> None:
        """
        Have the worker take another call, or end; then deliver the end of this call.
        """
        executions = self._calls.executions
        execution = executions.get(frame[1])
        if execution is None:
            return
        outcome = outcome_from(frame)
        del executions[frame[1]]
        if frame[3]:
            self.stopped = self.stopped or bool(frame[3] & frames.REPLACE)
            if frame[3] & frames.LEFT:
                self._calls.note_left(execution)
        if self.stream_reader.followed and not executions:
            self.stream_reader.unfollow()
        if self._idle is not None:
            self._idle(self)
        if self.stopped and not executions:
            self.stop()
        execution.finish(outcome)

    # -- what executions send -----------------------------------------------------

    def _send(self, kind: int, channel: int, a: int) -> None:
        """
        Send a frame for the call of *channel*; nothing happens if the worker is gone.
        """
        with suppress(OSError, ValueError):
            self._stream.send(kind, channel, a)

    def _answer(self, channel: int, reply: Reply) -> None:
        """
        Send the answer to a home call of *channel*; nothing happens if the worker is gone.
        """
        self._calls.count_home(-1)
        data, buffers = reply.sealed
        with suppress(OSError, ValueError):
            self._stream.send(
                frames.HOME_RESULT, channel, reply.number, int(reply.raised), data, buffers
            )


def _is_service(call: Call) -> bool:
    return call.gateway.serve or call.gateway.exposed_port is not None
