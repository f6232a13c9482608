"""
The launching end of a worker's stream: calls become frames, frames become events.

A host starts a Python with the arguments of :data:`ARGUMENTS`, connects its
standard input and output, and makes a :class:`Worker` of them. That is all of
the protocol that a host has to know.
"""

from __future__ import annotations

import marshal
import select
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import attrs

from fal_core.arrivals import Arrivals, finish, lose
from fal_core.banners import Banner
from fal_core.calls import Call
from fal_core.deliveries import Deliveries
from fal_core.errors import HostError, WorkerLost
from fal_core.events import LogSink, Sink, State
from fal_core.executions import WorkerExecution
from fal_core.hosts import Driver
from fal_core.readers import get_reader
from fal_core.remains import Remains
from fal_core.reprs import show_fields
from fal_core_worker import frames
from fal_core_worker.bootstrap import ARGUMENTS, preamble
from fal_core_worker.frames import Frame

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
        from fal_core.sources import worker_archive

        self.hello: Mapping[str, Any] | None = None
        self.gone = False
        self.reason: HostError | None = None
        self.stopped = False
        self._stream = frames.Stream(reader, writer)
        self._remains = remains
        self._page = None
        if arenas is not None:
            self._stream.inbound = arenas.inbound
            self._stream.outbound = arenas.outbound
            self._page = arenas.page
        self._shared = (settings or {}).get("multiplex", 1) > 1
        self._lost = lost
        self._kill = kill
        self._idle = idle
        self._ready = ready
        self._arrivals = Arrivals(log=log, away=away)
        self._deliveries = Deliveries(self._stream)
        self._banner = Banner()
        # Whoever reads may end the worker in what it is told of, as a host does.
        self._reading = threading.RLock()
        self._calling = threading.Lock()
        self._state = threading.Lock()
        self._followed = False
        self._channels = 0
        archive = worker_archive()
        configuration = marshal.dumps(dict(settings or {}), 2)
        # A process that has ended already is told of by the first call.
        with suppress(OSError):
            self._stream.write(preamble(archive.digest, archive.data, configuration))

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
        sink(RUNNING)
        with self._calling:
            if self.gone:
                raise ConnectionError("The worker is gone.")
            self._channels = channel = self._channels + 1
            execution = WorkerExecution(self, channel, call, sink)
            self._arrivals.executions[channel] = execution
            try:
                self._deliveries.send(channel, call)
            except (OSError, ValueError) as error:
                self._read_banner()
                self._arrivals.executions.pop(channel, None)
                raise ConnectionError("The worker is gone.") from error
        if self._shared or not isinstance(sink, Driver):
            self.follow()
        elif self._followed:
            self.unfollow()
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
            self.follow()

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
        if not self._shut():
            return
        if self._reading.acquire(blocking=False):
            try:
                self._end()
            finally:
                self._reading.release()
        else:
            # That one may have read for the last time.
            self.follow()

    def abandon(self) -> None:
        """
        Let go of a worker that belongs to the process this one was forked from.
        """
        # No other thread is left that reads or sends; one may have held a lock.
        self.gone = self.stopped = True
        self._leave_reader()
        self._stream.close()
        if self._remains is not None:
            self._remains.close()

    def forget(self) -> None:
        """
        Close what is open for a worker that has ended, unless its end was noticed.
        """
        if not self._shut():
            return
        with self._reading:
            with self._state:
                if self.gone:
                    return
                self.gone = self.stopped = True
                self._leave_reader()
            self._stream.end()
            if self._remains is not None:
                self._remains.close()

    def _shut(self) -> bool:
        """
        Have whoever reads or sends find the end; return False where it was found.

        The descriptors stay: one that is closed while another thread reads or writes
        there may be somebody else's file by then.
        """
        with self._state:
            if not self.gone:
                self._stream.shut()
            return not self.gone

    def _leave_reader(self) -> None:
        if self._followed:
            self._followed = False
            get_reader().unfollow(self)

    def trim(self) -> bool:
        """
        Give shared memory back, at both ends, while the worker is idle.

        It returns whether some is left, which a later call may find free.
        """
        if self.gone or self.executions or not self._stream.shared_size:
            return False
        if self._reading.acquire(blocking=False):
            try:
                # What the worker has let go of it says in frames that wait here.
                while not self.gone and self._is_readable():
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
            self._leave_reader()

    def read_ready(self) -> bool:
        if not self._reading.acquire(timeout=0.01):
            return True
        try:
            if self.gone:
                return False
            idle = not (self.executions and self._followed)
            if idle and not self._is_readable():
                # A call was driven meanwhile, which has read what there was.
                return True
            return self._pump()
        finally:
            self._reading.release()

    def _is_readable(self) -> bool:
        poll = select.poll()
        poll.register(self._stream.reader, select.POLLIN)
        return bool(poll.poll(0))

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
                    left = max(0.0, until - time.monotonic())
                    # The system counts milliseconds, and not very far.
                    if not poll.poll(min(left, 86400.0) * 1000):
                        if left <= 86400.0:
                            return
                        continue
                if not self._pump(soon=until is None):
                    return

    def _pump(self, *, soon: bool = False) -> bool:
        """
        Read once and deliver; the caller holds the read lock.
        """
        if self.gone:
            return False
        got: list[frames.Received] | None
        if self._banner.ended:
            got = self._stream.read_soon() if soon else self._stream.read()
        else:
            rest = self._banner.read(self._stream.reader, self._arrivals.report)
            got = None if rest is None else self._stream.parse(rest)
        if got is None:
            self._end()
            return False
        for frame in got:
            if frame[0] == frames.OUTCOME:
                self._finish(frame)
            elif frame[0] == frames.HELLO:
                self._greet(frame)
            else:
                self._arrivals.deliver(frame)
        return True

    def _read_banner(self) -> None:
        """
        Report what a worker has printed that has ended before it spoke.
        """
        # Whoever reads meanwhile reports it.
        if not self._reading.acquire(blocking=False):
            return
        try:
            while not (self.gone or self._banner.ended) and self._is_readable():
                rest = self._banner.read(self._stream.reader, self._arrivals.report)
                for frame in self._stream.parse(rest) or () if rest else ():
                    if frame[0] == frames.HELLO:
                        self._greet(frame)
                    else:
                        self._arrivals.deliver(frame)
        finally:
            self._reading.release()

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
        if self._followed and not executions:
            self.unfollow()
        if self._idle is not None:
            self._idle(self)
        if self.stopped and not executions:
            self.stop()
        finish(execution, frame)

    def _end(self) -> None:
        """
        Tell every call that runs that the worker has ended; the caller holds the read lock.
        """
        with self._state:
            if self.gone:
                return
            self.gone = True
            self._leave_reader()
            self._take_remains()
            executions = self._arrivals.take_all()
        self._arrivals.forget_home()
        # Closed first: a reason may be how the worker ended, which waits for that.
        self._stream.end()
        self.reason = reason = self._lost()
        started = None
        if self._page is not None:
            started = int.from_bytes(self._page[:4], "little")
            self._page.close()
        for execution in executions:
            lose(execution, reason, started)

    def _take_remains(self) -> None:
        """
        Tell what the worker has printed last, and could not tell itself.
        """
        if self._remains is None:
            return
        # Of several calls at once nobody knows whose it is.
        channels = list(self._arrivals.executions)
        block = self._remains.take(channels[0] if len(channels) == 1 else 0)
        self._remains.close()
        if block:
            self._arrivals.deliver((frames.LOG, 0, 0, 0, block))

    # -- sending ------------------------------------------------------------------

    def send(self, kind: int, channel: int, frame: Frame) -> None:
        """
        Send *frame* for the call of *channel*; nothing happens if the worker is gone.
        """
        payload = frame.payload
        if kind == frames.HOME_RESULT:
            self._arrivals.count_home(-1)
        data, buffers = payload if isinstance(payload, tuple) else (payload, ())
        try:
            self._stream.send(kind, channel, frame.a, frame.b, data, buffers)
        except (OSError, ValueError):
            pass
