"""
The launching end of a worker's stream: calls become frames, frames become events.

A host starts a Python with the arguments of :data:`ARGUMENTS`, connects its
standard input and output, and makes a :class:`Worker` of them. That is all of
the protocol that a host has to know.
"""

from __future__ import annotations

import marshal
import os
import select
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from fal_core.calls import Call, SealedFunction
from fal_core.errors import Cancelled, HostError, WorkerLost
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
    Sink,
    Started,
    State,
)
from fal_core.hosts import Driven, Driver
from fal_core.readers import get_reader
from fal_core_worker import frames
from fal_core_worker.bootstrap import ARGUMENTS, preamble
from fal_core_worker.frames import Frame
from fal_core_worker.outputs import LEVELS
from fal_core_worker.seals import Sealed

__all__ = ["ARGUMENTS", "Worker", "WorkerExecution"]

#: How many functions a worker keeps open.
FUNCTION_SLOTS = 64

ENDED = Exited()
RUNNING = State("running")
_LEVELS: tuple[Level, ...] = LEVELS  # type: ignore[assignment]


@attrs.frozen
class Arenas:
    """
    Shared memory that a worker was started with.

    Attributes:
        inbound: The arena that the worker writes, as this end sees it.

        outbound: The arena that this end writes.

        page: A mapped page where the worker counts the items it has started.
    """

    inbound: Any
    outbound: Any
    page: Any


class Worker:
    """
    A worker, as the process that launched it sees it.

    It owns the two descriptors. Events of a call are delivered by the thread
    that drives its execution, or else by the reader's thread.

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
            ``page``: descriptors, where *arenas* is given.
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
    ) -> None:
        from fal_core.sources import worker_archive

        self.hello: Mapping[str, Any] | None = None
        self.gone = False
        self.reason: HostError | None = None
        self.stopped = False
        self.executions: dict[int, WorkerExecution] = {}
        self._stream = frames.Stream(reader, writer)
        self._page = None
        if arenas is not None:
            self._stream.inbound = arenas.inbound
            self._stream.outbound = arenas.outbound
            self._page = arenas.page
        self._shared = (settings or {}).get("multiplex", 1) > 1
        self._lost = lost
        self._kill = kill
        self._log = log
        self._idle = idle
        self._ready = ready
        self._away = away
        self._calls_home = 0
        self._reading = threading.Lock()
        self._calling = threading.Lock()
        self._state = threading.Lock()
        self._followed = False
        self._before = b""
        self._magic = False
        self._channels = 0
        self._slots: OrderedDict[str, int] = OrderedDict()
        self._sources: set[str] = set()
        archive = worker_archive()
        configuration = marshal.dumps(dict(settings or {}), 2)
        self._stream.write(preamble(archive.digest, archive.data, configuration))

    # -- what a host asks for ---------------------------------------------------

    def launch(self, call: Call, sink: Sink) -> WorkerExecution:
        """
        Start *call* in this worker.

        Raises:
            ConnectionError: The worker is gone, and the call has not started.
        """
        data, buffers = call.arguments
        count = call.batch or (frames.STREAM if call.stream else 0)
        sink(RUNNING)
        # A slot stands for one function from its FUNCTION frame to the CALL.
        with self._calling:
            if self.gone:
                raise ConnectionError("The worker is gone.")
            self._channels = channel = self._channels + 1
            execution = WorkerExecution(self, channel, call, sink)
            self.executions[channel] = execution
            try:
                slot = self._slots.get(call.function.digest)
                if slot is None or call.setup is not None or call.sources:
                    slot = self._send_function(call)
                self._stream.send(frames.CALL, channel, slot, count, data, buffers)
            except (OSError, ValueError) as error:
                self.executions.pop(channel, None)
                raise ConnectionError("The worker is gone.") from error
        if self._shared or not isinstance(sink, Driver):
            self.follow()
        return execution

    def send_secrets(self, values: Mapping[str, str]) -> None:
        """
        Set environment variables in the worker, before a function is opened.
        """
        self._stream.send(frames.SECRETS, data=marshal.dumps(dict(values), 2))

    def stop(self) -> None:
        """
        Let the worker end once it is idle.
        """
        self.stopped = True
        try:
            self._stream.send(frames.STOP)
        except (OSError, ValueError):
            pass

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
        """
        self.stopped = True
        self._end()

    def abandon(self) -> None:
        """
        Let go of a worker that belongs to the process this one was forked from.
        """
        self.gone = self.stopped = True
        self._stream.close()

    def trim(self) -> bool:
        """
        Give shared memory back, at both ends, while the worker is idle.

        It returns whether some is left, which a later call may find free.
        """
        if self.gone or self.executions or not self._stream.shared_size:
            return False
        poll = select.poll()
        poll.register(self._stream.reader, select.POLLIN)
        if self._reading.acquire(blocking=False):
            try:
                # What the worker has let go of it says in frames that wait here.
                while not self.gone and poll.poll(0):
                    self._pump()
            finally:
                self._reading.release()
        try:
            self._stream.trim()
            self._stream.send(frames.TRIM)
        except (OSError, ValueError):
            return False
        return self._stream.shared_size > 0

    # -- reading ----------------------------------------------------------------

    def fileno(self) -> int:
        return self._stream.reader

    def follow(self) -> None:
        """
        Have the reader's thread deliver events from now on.
        """
        with self._state:
            if not (self._followed or self.gone):
                self._followed = True
                get_reader().follow(self)

    def unfollow(self) -> None:
        """
        Leave the stream to whoever drives an execution.
        """
        with self._state:
            if self._followed:
                self._followed = False
                get_reader().unfollow(self)

    def read_ready(self) -> bool:
        if not self._reading.acquire(timeout=0.01):
            return True
        try:
            return self._pump()
        finally:
            self._reading.release()

    def drive(self, execution: WorkerExecution, timeout: float | None) -> None:
        """
        Deliver events on this thread until *execution* has ended.
        """
        until = None if timeout is None else time.monotonic() + timeout
        if self._followed:
            if not get_reader().is_current_thread():
                execution.wait(timeout)
                return
            self.unfollow()
        with self._reading:
            poll = None
            while not execution.ended:
                if until is not None:
                    if poll is None:
                        poll = select.poll()
                        poll.register(self._stream.reader, select.POLLIN)
                    if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
                        return
                if not self._pump(soon=until is None):
                    return

    def _pump(self, *, soon: bool = False) -> bool:
        """
        Read once and deliver; the caller holds the read lock.
        """
        if self.gone:
            return False
        if not self._magic:
            got = self._read_before_magic()
        else:
            got = self._stream.read_soon() if soon else self._stream.read()
        if got is None:
            self._end()
            return False
        for frame in got:
            self._deliver(frame)
        return True

    def _read_before_magic(self) -> list[frames.Received] | None:
        """
        Read what a banner or a ``.pth`` file prints before the worker speaks.
        """
        try:
            chunk = os.read(self._stream.reader, 65536)
        except ConnectionError:
            chunk = b""
        data = self._before + chunk
        output, magic, rest = data.partition(frames.MAGIC)
        if not (magic or not chunk):
            self._before = data
            return []
        for line in output.decode("utf-8", "backslashreplace").splitlines():
            self._report(Log(line, "STDERR", "BRIDGE", time.time()))
        self._before = b""
        self._magic = True
        return self._stream.parse(rest) if chunk else None

    # -- delivering ---------------------------------------------------------------

    def _deliver(self, frame: frames.Received) -> None:
        kind, channel, a, b, payload = frame
        execution = self.executions.get(channel)
        if kind == frames.OUTCOME:
            if execution is not None:
                self.stopped = self.stopped or b == frames.REPLACE
                self._deliver_outcome(execution, a, payload)
        elif kind == frames.LOG:
            self._deliver_log(payload)
        elif kind == frames.HELLO:
            self.hello = marshal.loads(payload)
            if self._ready is not None:
                self._ready()
        elif execution is None:
            return
        elif kind == frames.ITEM:
            execution.sink(Item(_sealed(payload), a, b))
        elif kind == frames.STARTED:
            execution.sink(Started(a))
        elif kind == frames.RETURNED:
            execution.sink(Returned(a))
        elif kind == frames.HOME_CALL:
            self._count_home(1)
            execution.sink(HomeCall(a, _sealed(payload)))
        elif kind == frames.READY:
            execution.sink(Ready(marshal.loads(payload)))

    def _deliver_outcome(self, execution: WorkerExecution, a: int, payload: Any) -> None:
        del self.executions[execution.channel]
        if self._followed and not self.executions:
            self.unfollow()
        if self._idle is not None:
            self._idle(self)
        if self.stopped and not self.executions:
            self.stop()
        if a == frames.ENDED_CANCELLED:
            execution.finish(Exited(reason=Cancelled()))
        else:
            execution.sink(Outcome(_sealed(payload), a == frames.ENDED_RAISED))
            execution.finish(ENDED)

    def _deliver_log(self, payload: bytes) -> None:
        for level, when, channel, index, lines in marshal.loads(payload):
            execution = self.executions.get(channel)
            name = None
            if execution is not None:
                name = execution.call.id
                if execution.call.batch:
                    name = f"{name}/{index}"
            for line in lines.split("\n"):
                log = Log(line, _LEVELS[level], "USER", when, name)
                if execution is not None:
                    execution.sink(log)
                else:
                    self._report(log)

    def _report(self, log: Log) -> None:
        """
        Give a line that no call printed to the calls that run, or to the host.
        """
        for execution in list(self.executions.values()):
            execution.sink(log)
        if not self.executions and self._log is not None:
            self._log(log)

    def _end(self) -> None:
        """
        Tell every call that runs that the worker has ended.
        """
        with self._state:
            if self.gone:
                return
            self.gone = True
            if self._followed:
                self._followed = False
                get_reader().unfollow(self)
            executions, self.executions = self.executions, {}
        self._count_home(-self._calls_home)
        # Closed first: a reason may be how the worker ended, which waits for that.
        self._stream.close()
        self.reason = reason = self._lost()
        for execution in executions.values():
            if self._page is not None and execution.call.batch:
                execution.sink(Started(int.from_bytes(self._page[:4], "little")))
            if execution.cancelling:
                execution.finish(Exited(reason=Cancelled()))
            else:
                code = getattr(reason, "code", None)
                signal = getattr(reason, "signal", None)
                execution.finish(Exited(code, signal, reason))

    # -- sending ------------------------------------------------------------------

    def send(self, kind: int, channel: int, frame: Frame) -> None:
        """
        Send *frame* for the call of *channel*; nothing happens if the worker is gone.
        """
        payload = frame.payload
        if kind == frames.HOME_RESULT:
            self._count_home(-1)
        data, buffers = payload if isinstance(payload, tuple) else (payload, ())
        try:
            self._stream.send(kind, channel, frame.a, frame.b, data, buffers)
        except (OSError, ValueError):
            pass

    def _count_home(self, change: int) -> None:
        with self._state:
            # A late answer to a worker that is gone has been counted already.
            change = max(change, -self._calls_home)
            self._calls_home += change
        if self._away is not None and change:
            self._away(change)

    def _send_function(self, call: Call) -> int:
        for source in call.sources:
            if source.digest not in self._sources:
                self._sources.add(source.digest)
                data = source.digest.encode().ljust(64) + source.data
                self._stream.send(frames.SOURCES, data=data)
        key = call.function.digest
        if call.setup is not None:
            key += call.setup.digest
        slot = self._slots.get(key)
        if slot is not None:
            self._slots.move_to_end(key)
            return slot
        if len(self._slots) < FUNCTION_SLOTS:
            slot = len(self._slots)
        else:
            slot = self._slots.popitem(last=False)[1]
        packed = _pack_function(call.function)
        setup = None if call.setup is None else _pack_function(call.setup)
        self._stream.send(frames.FUNCTION, 0, slot, data=marshal.dumps((*packed, setup), 2))
        self._slots[key] = slot
        return slot


class WorkerExecution(Driven):
    """
    A call that runs in a worker.
    """

    __slots__ = ("_event", "call", "cancelling", "channel", "ended", "sink", "worker")

    def __init__(self, worker: Worker, channel: int, call: Call, sink: Sink) -> None:
        self.worker = worker
        self.channel = channel
        self.call = call
        self.sink = sink
        self.ended = False
        self.cancelling = False
        self._event: threading.Event | None = None

    @property
    def reference(self) -> str:
        return self.call.id

    def send(self, frame: Frame) -> None:
        self.worker.send(frame.kind, self.channel, frame)

    def drain(self) -> None:
        self.worker.send(frames.DRAIN, self.channel, Frame(frames.DRAIN, 0, 0, 0, b""))

    def cancel(self, grace: float) -> None:
        if self.ended:
            return
        self.cancelling = True
        self.worker.send(frames.CANCEL, self.channel, Frame(frames.CANCEL, 0, 0, 0, b""))
        get_reader().after(grace, self._kill)

    def drive(self, timeout: float | None) -> None:
        self.worker.drive(self, timeout)

    def wait(self, timeout: float | None) -> None:
        """
        Wait until another thread has delivered the end.
        """
        event = self._event
        if event is None:
            event = self._event = threading.Event()
        if not self.ended:
            event.wait(timeout)

    def finish(self, exited: Exited) -> None:
        """
        Deliver the last event.
        """
        self.sink(exited)
        self.ended = True
        if self._event is not None:
            self._event.set()

    def _kill(self) -> None:
        if not self.ended:
            self.worker.kill()


def _sealed(payload: Any) -> Sealed:
    if type(payload) is tuple:
        return Sealed(*payload)
    return Sealed(payload)


def _pack_function(function: SealedFunction) -> tuple[Any, ...]:
    portable = None if function.portable is None else function.portable.data
    return (function.digest, function.native.data, portable, function.refusal)
