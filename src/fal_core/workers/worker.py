"""
This end of the stream to a worker: calls are sent as frames, and frames arrive as events.

A host starts a Python with the arguments of :data:`ARGUMENTS`, connects its
standard input and output, and makes a :class:`Worker` of them. That is all of
the protocol that a host has to know.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from fal_core.abilities import Driver
from fal_core.calls import Call
from fal_core.errors import Cancelled, HostError, WorkerLost
from fal_core.events import Log, LogSink, Sink
from fal_core.sinks.serial_sinks import make_serial
from fal_core.workers.bootstrap import ARGUMENTS
from fal_core.workers.crash_output import CrashOutput
from fal_core.workers.driving import StreamReader
from fal_core.workers.events_in import RUNNING, RunningCalls
from fal_core.workers.execution import Controls, WorkerExecution, outcome_from
from fal_core.workers.frames_out import CallSender
from fal_core.workers.opening import Opening, settings_for
from fal_core.workers.patient_streams import PatientStream
from fal_core.workers.payloads_in import unpack_hello
from fal_core.workers.shared_memory import Arenas
from fal_core.workers.stopping import StoppableWorker, find_reason
from fal_core_worker.stream import frames
from fal_core_worker.stream.frames import UnreadableFrame

if TYPE_CHECKING:
    import subprocess

    from fal_core.environments import Command

__all__ = ["ARGUMENTS", "Explain", "Worker", "WorkerExecution", "WorkerOwner"]

#: Seconds between two looks at whether a worker is up.
_TICK = 0.005

#: Returns why a worker was lost, of the exit code of its process and what that printed last.
Explain = Callable[[int, str], "HostError | None"]


class Worker(StoppableWorker):
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

        wait: Waits until its processes are gone, for some seconds; returns whether they are.

        log: Takes lines that belong to no call.

        idle: Called when a call has ended and the worker can take another. It is not for
            workers of a :class:`~fal_core.pools.WorkerHost`, which has its own.

        settings: ``kept``: the host itself ends the processes that a lost worker leaves
            behind. ``arenas`` and ``page``: descriptors, if *arenas* is given. ``pipes``:
            descriptors, if *crash_output* is given. ``relayed``: programs in between pass
            everything on.

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
        wait: Callable[[float], bool] | None = None,
        log: LogSink | None = None,
        idle: Callable[[Worker], None] | None = None,
        settings: Mapping[str, Any] | None = None,
        arenas: Arenas | None = None,
        crash_output: CrashOutput | None = None,
        largest: int | None = None,
    ) -> None:
        self.hello: Mapping[str, Any] | None = None
        super().__init__(PatientStream(reader, writer), kill=kill, wait=wait)
        if largest is not None:
            self._stream.largest = largest
        if arenas is not None:
            self._stream.inbound = arenas.inbound
            self._stream.outbound = arenas.outbound
        self._opening = Opening(self._stream, {**settings_for(self), **(settings or {})})
        self._shared = False
        self._lost = lost
        self._idle = idle
        self._owner: WorkerOwner | None = None
        self._calls = RunningCalls(log=log)
        self._sender = CallSender(self._stream)
        self.stream_reader: StreamReader = StreamReader(
            self._stream,
            self._calls,
            greeted=self._greet,
            finished=self._finish,
            kill=self.kill,
            lost=self._find_reason,
            page=None if arenas is None else arenas.page,
            crash_output=crash_output,
        )
        self._controls = Controls(
            self._stream,
            self._calls,
            drive=self.stream_reader.drive,
            follow=self.follow,
            kill=self.kill,
        )
        self._calling = threading.Lock()
        self._retired = False
        self._channels = 0

    @classmethod
    def of(
        cls,
        process: subprocess.Popen[bytes],
        *,
        command: Command | None = None,
        explain: Explain | None = None,
        **callbacks: Any,
    ) -> Worker:
        """
        Return the worker in *process*, which has pipes as its standard input and output.

        The worker owns both. While it is not up, what the process prints to standard error,
        if that is a pipe too, goes to the calls that wait; the last of it is in the error
        if the worker is lost.

        Arguments:
            command: What the process was started with: its ``stop_argv`` ends the process,
                and its ``explain`` is asked where that of the host returns None.

            explain: Returns why the worker was lost, of the exit code of the process, which
                is negative for a signal, and of what it printed last. None for
                ``WorkerLost`` with both.

        Raises:
            ValueError: The process has no pipes.
        """
        from fal_core.workers.processes import WatchedProcess

        watched = WatchedProcess(process, explain, command)
        worker = cls(
            *watched.take_pipes(),
            lost=watched.why_lost,
            kill=watched.kill,
            wait=watched.wait,
            **callbacks,
        )
        watched.watch(worker, worker.say)
        return worker

    @classmethod
    def start(
        cls,
        command: Command | Sequence[str],
        *,
        explain: Explain | None = None,
        directory: str | None = None,
        **callbacks: Any,
    ) -> Worker:
        """
        Start *command*, and return the worker in it: see :meth:`of`.

        It has the variables of this process, and those of a ``Command``.

        Arguments:
            directory: Where to start it, unless a ``Command`` names another place. None for
                the directory of this process.

        Raises:
            HostError: The program cannot be started.
        """
        from fal_core.workers.processes import start_process

        process = start_process(command, directory)
        known = None if isinstance(command, Sequence) else command
        return cls.of(process, command=known, explain=explain, **callbacks)

    @property
    def executions(self) -> Mapping[int, WorkerExecution]:
        """The calls that run, by their channels."""
        return self._calls.executions

    @property
    def call_count(self) -> int:
        """How many calls it was given."""
        return self._channels

    @property
    def prepared(self) -> bool:
        """Whether it has run a ``setup_function``."""
        return self._calls.prepared

    # -- what a host asks for ---------------------------------------------------

    def serve_for(
        self, owner: WorkerOwner, *, multiplex: int = 1, logging: str | None = None
    ) -> None:
        """
        Tell *owner* what becomes of this worker. Called once, before its first call.

        Arguments:
            multiplex: How many calls it runs at once.

            logging: The option of that name.
        """
        self._owner = owner
        self._idle = owner.worker_idle
        self._calls.away = owner.call_away
        self._shared = multiplex > 1
        self._opening.settings["multiplex"] = multiplex
        if logging is not None:
            self._opening.settings["logging"] = logging
        self._opening.begin()

    def wait_until_up(self, cancelled: threading.Event) -> None:
        """
        Wait until the worker has said hello: only calls are missing then.

        Raises:
            HostError: It has ended, or is ended here as *cancelled* was set.
        """
        self._opening.begin()
        self.follow()
        while self.hello is None:
            if self.gone:
                raise self.why()
            if cancelled.wait(_TICK):
                self.kill()
                raise Cancelled()

    def say(self, line: str) -> None:
        """
        Report a line of the host, or of its process, to the calls that wait for the worker.

        Any thread may call it. Nobody is told once the worker is up.
        """
        self._calls.say(Log(line, "STDERR", "BRIDGE", time.time()))

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
        starts = self.hello is None or (call.setup is not None and self._calls.waits(call))
        if starts:
            self._opening.begin()
            sink = make_serial(sink)
        else:
            try:
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
                self._calls.add_starting(execution)
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
        if starts:
            # The worker may have come up, or have run the setup, meanwhile.
            self._calls.tell_running()
        return execution

    def fits(self, call: Call) -> bool:
        """
        Tell whether no local module that comes with *call* has come in another version.

        A worker that has imported one goes on with it, as any process does. :meth:`launch`
        retires such a worker.
        """
        return self._sender.fits(call.sources)

    def send_secrets(self, values: Mapping[str, str]) -> None:
        """Set environment variables in the worker, before a function is opened."""
        self._opening.add_secrets(values)

    def retire(self) -> None:
        """Let the worker end after the calls that it has; it takes no other."""
        with self._calling:
            self.stopped = self._retired = True
            is_idle = not self.executions
        if is_idle:
            self.stop()

    # -- what the worker sends ---------------------------------------------------

    def _greet(self, frame: frames.Received) -> None:
        if self.hello is not None:
            raise UnreadableFrame("the worker describes itself twice")
        self.hello = unpack_hello(frame[4])
        self._calls.greeted = True
        self._stream.heard()
        if self._owner is not None:
            self._owner.worker_ready(self)
        self._calls.tell_running()

    def _find_reason(self) -> HostError:
        reason = find_reason(self._lost)
        return reason if self._owner is None else self._owner.worker_ended(self, reason)

    def _finish(self, frame: frames.Received) -> None:
        """Have the worker take another call, or end; then deliver the end of this call."""
        executions = self._calls.executions
        execution = executions.get(frame[1])
        if execution is None:
            return
        outcome = outcome_from(frame)
        del executions[frame[1]]
        if frame[3]:
            self.stopped: bool = self.stopped or bool(frame[3] & frames.REPLACE)
            if frame[3] & frames.LEFT:
                self._calls.note_left(execution)
        if self.stream_reader.followed and not executions:
            self.stream_reader.unfollow()
        if self._idle is not None:
            self._idle(self)
        if self.stopped and not executions:
            self.stop()
        execution.finish(outcome)


class WorkerOwner(Protocol):
    """The object that has a worker run calls, such as a pool."""

    def worker_ready(self, worker: Worker) -> None:
        """Take note that *worker* has said hello."""

    def worker_idle(self, worker: Worker) -> None:
        """Give *worker* its next call."""

    def worker_ended(self, worker: Worker, reason: HostError) -> HostError:
        """Take note that *worker* has ended unasked, and return the reason for its calls."""

    def call_away(self, change: int) -> None:
        """
        Count the workers that wait for a call in this process: 1 for one more, -1 when it
        has its answer.
        """
