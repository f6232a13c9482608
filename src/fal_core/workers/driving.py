"""
Readings: what a worker writes, read by whoever waits for it, until it ends.
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable
from typing import Any

from fal_core.errors import HostError
from fal_core.sinks.event_thread import get_reader
from fal_core.workers.banners import Banner
from fal_core.workers.crash_output import Remains
from fal_core.workers.events_in import Arrivals, lose
from fal_core.workers.execution import WorkerExecution
from fal_core_worker.stream import frames
from fal_core_worker.stream.streams import Stream


class Reading:
    """
    The stream of one worker, as it is read.

    Events of a call are delivered by the thread that drives its execution, or else by
    the reader's thread. Whoever reads finds the end, and closes the stream.

    Arguments:
        arrivals: Takes the frames that neither greet nor end a call.

        greeted: Takes the frame in which the worker says hello.

        finished: Takes the frame that ends a call, which it is to tell.

        lost: Called once when the stream has ended unasked; returns the reason.

        page: The page where the worker counts the items it has started.

        remains: The pipes that the worker's output below Python goes through.

    Attributes:
        gone: Whether the stream has ended.

        followed: Whether the reader's thread delivers events.

        reason: What *lost* has returned.
    """

    __slots__ = (
        "_arrivals",
        "_banner",
        "_finished",
        "_greeted",
        "_lost",
        "_page",
        "_reading",
        "_remains",
        "_state",
        "_stream",
        "followed",
        "gone",
        "reason",
    )

    def __init__(
        self,
        stream: Stream,
        arrivals: Arrivals,
        *,
        greeted: Callable[[frames.Received], None],
        finished: Callable[[frames.Received], None],
        lost: Callable[[], HostError],
        page: Any,
        remains: Remains | None,
    ) -> None:
        self.gone = False
        self.followed = False
        self.reason: HostError | None = None
        self._stream = stream
        self._arrivals = arrivals
        self._greeted = greeted
        self._finished = finished
        self._lost = lost
        self._page = page
        self._remains = remains
        self._banner = Banner()
        # Whoever reads may end the worker in what it is told of, as a host does.
        self._reading = threading.RLock()
        self._state = threading.Lock()

    # -- who reads --------------------------------------------------------------

    def fileno(self) -> int:
        return self._stream.reader

    def follow(self) -> None:
        """
        Have the reader's thread deliver events from now on.
        """
        with self._state:
            if not (self.followed or self.gone):
                self.followed = True
                get_reader().follow(self)

    def unfollow(self) -> None:
        """
        Leave the stream to whoever drives an execution.
        """
        with self._state:
            self._leave_reader()

    def _leave_reader(self) -> None:
        if self.followed:
            self.followed = False
            get_reader().unfollow(self)

    def read_ready(self) -> bool:
        if not self._reading.acquire(timeout=0.01):
            return True
        try:
            if self.gone:
                return False
            idle = not (self._arrivals.executions and self.followed)
            if idle and not self._is_readable():
                # A call was driven meanwhile, which has read what there was.
                return True
            return self._pump()
        finally:
            self._reading.release()

    def drive(self, execution: WorkerExecution, timeout: float | None) -> None:
        """
        Deliver events on this thread until *execution* has ended.
        """
        until = None if timeout is None else time.monotonic() + timeout
        if self.followed:
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

    def read_waiting(self) -> None:
        """
        Read all that waits to be read, unless another thread reads.
        """
        if self._reading.acquire(blocking=False):
            try:
                while not self.gone and self._is_readable():
                    self._pump()
            finally:
                self._reading.release()

    def read_banner(self) -> None:
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
                        self._greeted(frame)
                    else:
                        self._arrivals.deliver(frame)
        finally:
            self._reading.release()

    def _is_readable(self) -> bool:
        poll = select.poll()
        poll.register(self._stream.reader, select.POLLIN)
        return bool(poll.poll(0))

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
                self._finished(frame)
            elif frame[0] == frames.HELLO:
                self._greeted(frame)
            else:
                self._arrivals.deliver(frame)
        return True

    # -- the end ----------------------------------------------------------------

    def close(self) -> None:
        """
        End the stream; calls that run end as lost.

        Any thread may. Where another one reads, it tells them, once it has read what
        there is.
        """
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
                self.gone = True
                self._leave_reader()
            self._stream.end()
            if self._remains is not None:
                self._remains.close()

    def abandon(self) -> None:
        """
        Let go of a stream that belongs to the process this one was forked from.
        """
        # No other thread is left that reads or sends; one may have held a lock.
        self.gone = True
        self._leave_reader()
        self._stream.close()
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
