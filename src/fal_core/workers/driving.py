"""Reading the stream of a worker, on the thread that waits for a call where there is one."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from fal_core.errors import HostError, WorkerLost
from fal_core.events import Log
from fal_core.sinks.event_thread import get_event_thread
from fal_core.workers.bootstrap import REFUSAL
from fal_core.workers.crash_output import CrashOutput
from fal_core.workers.events_in import RunningCalls
from fal_core.workers.execution import WorkerExecution
from fal_core.workers.patient_streams import PatientStream
from fal_core_worker.stream import frames
from fal_core_worker.stream.frames import UnreadableFrame


class StreamReader:
    """
    Reads the stream of one worker until it ends.

    Events of a call are delivered by the thread that drives its execution, or else by
    the event thread. The one that finds the end closes the stream.

    Arguments:
        calls: Takes the frames that are events of a call, but for its end.

        greeted: Takes the HELLO frame of the worker.

        finished: Takes the OUTCOME frame of a call, and delivers its end.

        kill: Ends the worker, which has sent what cannot be read.

        lost: Called once when the stream has ended unasked; returns the reason.

        page: The page where the worker counts the items it has started.

        crash_output: The pipes that the worker's output below Python goes through.

    Attributes:
        gone: Whether the stream has ended.

        followed: Whether the event thread delivers events.

        reason: What *lost* has returned.
    """

    __slots__ = (
        "_banner",
        "_calls",
        "_crash_output",
        "_detail",
        "_explained",
        "_finished",
        "_greeted",
        "_kill",
        "_lost",
        "_page",
        "_reading",
        "_state",
        "_stream",
        "followed",
        "gone",
        "reason",
    )

    def __init__(
        self,
        stream: PatientStream,
        calls: RunningCalls,
        *,
        greeted: Callable[[frames.Received], None],
        finished: Callable[[frames.Received], None],
        kill: Callable[[], None],
        lost: Callable[[], HostError],
        page: Any,
        crash_output: CrashOutput | None,
    ) -> None:
        self.gone: bool = False
        self.followed: bool = False
        self.reason: HostError | None = None
        self._explained = threading.Event()
        self._stream = stream
        self._calls = calls
        self._greeted = greeted
        self._finished = finished
        self._kill = kill
        self._lost = lost
        self._page = page
        self._crash_output = crash_output
        self._detail = ""
        self._banner = Banner()
        # A host may end the worker while it takes an event, on the thread that reads.
        self._reading = threading.RLock()
        self._state = threading.Lock()

    # -- who reads --------------------------------------------------------------

    def fileno(self) -> int:
        return self._stream.reader

    def follow(self) -> None:
        """Have the event thread deliver events from now on."""
        with self._state:
            if not (self.followed or self.gone):
                self.followed = True
                get_event_thread().follow(self)

    def unfollow(self) -> None:
        """Leave the stream to the threads that drive executions."""
        with self._state:
            self._stop_following()

    def _stop_following(self) -> None:
        if self.followed:
            self.followed = False
            get_event_thread().unfollow(self)

    def read_ready(self) -> bool:
        if not self._reading.acquire(timeout=0.01):
            return True
        try:
            if self.gone:
                return False
            idle = not (self._calls.executions and self.followed)
            if idle and not self._is_readable():
                # The thread that drove a call meanwhile has read everything.
                return True
            return self._pump()
        except BaseException:
            # It is reported, and this stream no longer read: its calls would never end.
            self._break("It was ended because its events could not be delivered.")
            raise
        finally:
            self._reading.release()

    def drive(self, execution: WorkerExecution, timeout: float | None) -> None:
        """Deliver events on this thread until *execution* has ended."""
        until = None if timeout is None else time.monotonic() + timeout
        if self.followed:
            if not get_event_thread().is_current_thread():
                execution.wait(timeout)
                return
            self.unfollow()
        with self._reading:
            poll = None
            while not (execution.ended or self.gone):
                if until is not None:
                    if poll is None:
                        poll = select.poll()
                        poll.register(self._stream.reader, select.POLLIN)
                    left = max(0.0, until - time.monotonic())
                    # poll() takes milliseconds as a small integer: a day at most.
                    if not poll.poll(min(left, 86400.0) * 1000):
                        if left <= 86400.0:
                            return
                        continue
                if not self._pump(soon=until is None):
                    break
        if not execution.ended:
            # Another thread finds out why the worker has ended.
            execution.wait(None if until is None else max(0.0, until - time.monotonic()))

    def read_waiting(self) -> None:
        """Read all frames that have come, unless another thread reads."""
        if self._reading.acquire(blocking=False):
            try:
                while not self.gone and self._is_readable():
                    self._pump()
            finally:
                self._reading.release()

    def read_banner(self) -> None:
        """Report what a process has printed that ended before its worker started."""
        # A thread that reads at the moment reports it.
        if not self._reading.acquire(blocking=False):
            return
        try:
            while not (self.gone or self._banner.ended) and self._is_readable():
                rest = self._banner.read(self._stream.reader, self._calls.report)
                self._deliver(self._stream.parse(rest) if rest else ())
        except UnreadableFrame:
            # The worker has ended, and its calls are told so.
            return
        finally:
            self._reading.release()

    def _is_readable(self) -> bool:
        poll = select.poll()
        poll.register(self._stream.reader, select.POLLIN)
        return bool(poll.poll(0))

    def _pump(self, *, soon: bool = False) -> bool:
        """
        Read once and deliver; the caller holds the lock for reading.

        A worker that sends what cannot be read is ended: nothing that it sends later would
        be understood.
        """
        if self.gone:
            return False
        got: list[frames.Received] | None
        try:
            if self._banner.ended:
                got = self._stream.read_soon() if soon else self._stream.read()
            else:
                rest = self._banner.read(self._stream.reader, self._calls.report)
                got = None if rest is None else self._stream.parse(rest)
            if got is not None:
                self._deliver(got)
                return True
        except UnreadableFrame as error:
            self._break(f"It was ended because it sent what cannot be read: {error}.")
        else:
            self._end()
        return False

    def _deliver(self, got: Iterable[frames.Received]) -> None:
        for frame in got:
            if frame[0] == frames.OUTCOME:
                self._finished(frame)
            elif frame[0] == frames.HELLO:
                self._greeted(frame)
            else:
                self._calls.deliver(frame)

    # -- the end ----------------------------------------------------------------

    def close(self) -> None:
        """
        End the stream; calls that run end as lost.

        Any thread may call it. If another thread reads, that one ends the calls, after it
        has read what is there.
        """
        if not self._shut():
            return
        if self._reading.acquire(blocking=False):
            try:
                self._end()
            finally:
                self._reading.release()
        else:
            # That thread may have read for the last time.
            self.follow()

    def why(self) -> HostError:
        """Close the stream, and wait until it is known why the worker has ended."""
        self.close()
        self._explained.wait()
        return self.reason or WorkerLost()

    def forget(self) -> None:
        """Close everything that is open for a worker whose end was not noticed."""
        if not self._shut():
            return
        with self._reading:
            with self._state:
                if self.gone:
                    return
                self.gone = True
                self._stop_following()
            self._explained.set()
            self._stream.end()
            if self._crash_output is not None:
                self._crash_output.close()

    def abandon(self) -> None:
        """Close the stream of a worker that belongs to the parent process, after a fork."""
        # No other thread is left that reads or sends; one may have held a lock at the fork.
        self.gone = True
        self._stop_following()
        self._stream.abandon()
        if self._crash_output is not None:
            self._crash_output.close()

    def _shut(self) -> bool:
        """
        Let threads that read or send find the end; return False if it was found already.

        The descriptors stay open: once closed, their numbers may stand for other files
        while a thread still reads or writes.
        """
        with self._state:
            if not self.gone:
                self._stream.shut()
            return not self.gone

    def _break(self, detail: str) -> None:
        """
        End the worker, and every call that runs in it; the caller holds the lock for reading.

        Arguments:
            detail: Why, as a sentence.
        """
        self._detail = detail
        self._kill()
        self._end()

    def _end(self) -> None:
        """End every call that runs; the caller holds the lock for reading."""
        with self._state:
            if self.gone:
                return
            self.gone = True
            self._stop_following()
            self._deliver_crash_output()
            executions = self._calls.take_all()
        self._calls.forget_home()
        # Closed first: *lost* may wait for the process to end, which waits for that.
        self._stream.end()
        if get_event_thread().is_current_thread():
            # Other workers are not to wait for that.
            threading.Thread(
                target=self._lose, args=(executions,), name="fal-core lost", daemon=True
            ).start()
        else:
            self._lose(executions)

    def _lose(self, executions: Iterable[WorkerExecution]) -> None:
        """Find out why the worker has ended, and end the calls that ran."""
        reason = self._lost()
        if self._detail:
            reason = WorkerLost(detail=self._detail)
        if self._banner.refusal is not None:
            reason = self._banner.refusal
        place = "" if self._crash_output is None else self._crash_output.place
        if place and isinstance(reason, WorkerLost):
            reason.place = place
        self.reason = reason
        self._explained.set()
        started = None
        if self._page is not None:
            started = int.from_bytes(self._page[:4], "little")
            self._page.close()
        for execution in executions:
            execution.lose(reason, started)

    def _deliver_crash_output(self) -> None:
        """Deliver what the worker has printed last and could not read itself."""
        if self._crash_output is None:
            return
        # With several calls at once nobody knows which has printed it.
        channels = list(self._calls.executions)
        block = self._crash_output.take(channels[0] if len(channels) == 1 else 0)
        self._crash_output.close()
        if block:
            self._calls.deliver((frames.LOG, 0, 0, 0, block))


_REMEDY = "Let the environment, or the host, start another one."

#: The most that a Python prints before the worker in it starts, in bytes.
_LONGEST_BANNER = 1 << 20


class Banner:
    """
    What a Python prints before the worker in it starts, as a login or a ``.pth`` file does.

    Attributes:
        ended: Whether the magic, which precedes the first frame, has been read.

        refusal: Why no worker can run in this Python, as it said itself.
    """

    __slots__ = ("_data", "ended", "refusal")

    def __init__(self) -> None:
        self.ended: bool = False
        self.refusal: HostError | None = None
        self._data = b""

    def read(self, reader: int, report: Callable[[Log], None]) -> bytes | None:
        """
        Read once; return what follows the magic, or None at the end of the stream.

        The lines are reported once the magic, or the end, has been read.

        Raises:
            UnreadableFrame: There is too much of it.
        """
        try:
            chunk = os.read(reader, 65536)
        except OSError:
            chunk = b""
        data = self._data + chunk
        output, magic, rest = data.partition(frames.MAGIC)
        if not (magic or not chunk):
            if len(data) > _LONGEST_BANNER:
                raise UnreadableFrame(f"it has printed {len(data)} bytes before it started")
            self._data = data
            return b""
        for line in output.decode("utf-8", "backslashreplace").splitlines():
            # What was printed before may not have ended its line.
            line, refused, sentence = line.partition(REFUSAL)
            if refused and not magic:
                self.refusal = HostError(f"{sentence} {_REMEDY}")
                if not line:
                    continue
            else:
                line += refused + sentence
            report(Log(line, "STDERR", "BRIDGE", time.time()))
        self._data = b""
        self.ended = True
        return rest if chunk else None
