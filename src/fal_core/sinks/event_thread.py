"""The thread that delivers the events of calls for which no thread waits, and runs timers."""

from __future__ import annotations

import heapq
import itertools
import os
import selectors
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol


class Readable(Protocol):
    """A source with a descriptor, which is read whenever there is something to read."""

    def fileno(self) -> int: ...

    def read_ready(self) -> bool:
        """Read once; return False at the end of the source."""


#: When it is due, a number, and the action, which is None once it has run or is forgotten.
Timer = list[Any]


class EventThread:
    """One thread that reads many sources, and runs actions when they are due."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        self._due: list[Timer] = []
        self._forgotten = 0
        self._numbers = itertools.count()
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_reader, False)
        os.set_blocking(self._wake_writer, False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        self._thread: threading.Thread | None = None

    def follow(self, source: Readable) -> None:
        """Read *source* from now on, until it ends."""
        self._start()
        with self._lock:
            self._selector.register(source.fileno(), selectors.EVENT_READ, source)

    def unfollow(self, source: Readable) -> None:
        """Stop reading *source*, which may have ended already."""
        with self._lock:
            try:
                self._selector.unregister(source.fileno())
            except (KeyError, ValueError):
                pass

    def after(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Run *action* on the event thread after *seconds*; it must not block."""
        self._start()
        timer: Timer = [time.monotonic() + seconds, next(self._numbers), action]
        with self._lock:
            heapq.heappush(self._due, timer)
            first = self._due[0] is timer
        if first:
            try:
                os.write(self._wake_writer, b"\0")
            except BlockingIOError:
                pass
        return timer

    def forget(self, timer: Timer) -> None:
        """Do not run the action of *timer*, which may have run already."""
        with self._lock:
            if timer[2] is None:
                return
            timer[2] = None
            self._forgotten += 1
            if self._forgotten > 100 and self._forgotten > len(self._due) // 2:
                # Most calls end long before their deadline: most timers are forgotten.
                self._due = [other for other in self._due if other[2] is not None]
                heapq.heapify(self._due)
                self._forgotten = 0

    def is_current_thread(self) -> bool:
        """Tell whether the calling thread is the event thread."""
        return threading.current_thread() is self._thread

    def abandon(self) -> None:
        """Close the descriptors in a forked process, in which the thread does not run."""
        self._selector.close()
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    def _start(self) -> None:
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(
                        target=self._run, name="fal-core events", daemon=True
                    )
                    self._thread.start()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select(self._timeout()):
                if key.data is None:
                    try:
                        os.read(self._wake_reader, 4096)
                    except BlockingIOError:
                        pass
                else:
                    self._read(key.data)
            self._run_due()

    def _read(self, source: Readable) -> None:
        try:
            more = source.read_ready()
        except BaseException as error:
            # The source is reported and no longer read; the others are.
            report_failure(error)
            more = False
        if not more:
            self.unfollow(source)

    def _timeout(self) -> float | None:
        with self._lock:
            if not self._due:
                return None
            due: float = self._due[0][0]
            # poll() takes milliseconds as a small integer: a day at most.
            return min(max(0.0, due - time.monotonic()), 86400.0)

    def _run_due(self) -> None:
        while True:
            with self._lock:
                if not self._due or self._due[0][0] > time.monotonic():
                    return
                timer = heapq.heappop(self._due)
                action, timer[2] = timer[2], None
                if action is None:
                    self._forgotten = max(0, self._forgotten - 1)
                    continue
            try:
                action()
            except BaseException as error:
                # An action that fails must not keep sources from being read.
                report_failure(error)


def report_failure(error: BaseException) -> None:
    """Report what the work of one call has raised on a thread that goes on with that of others."""
    if isinstance(error, SystemExit):
        # The hook says nothing of it, as it ends other threads.
        cause, error = error, RuntimeError("SystemExit does not end this thread.")
        error.__cause__ = cause
    thread = threading.current_thread()
    threading.excepthook(
        threading.ExceptHookArgs((type(error), error, error.__traceback__, thread))
    )


_event_thread: EventThread | None = None
_lock = threading.Lock()


def get_event_thread() -> EventThread:
    """Return the event thread of this process."""
    global _event_thread
    if _event_thread is None:
        with _lock:
            if _event_thread is None:
                _event_thread = EventThread()
    return _event_thread


def _forget() -> None:
    global _event_thread, _lock
    _lock = threading.Lock()
    if _event_thread is not None:
        _event_thread.abandon()
        _event_thread = None


os.register_at_fork(after_in_child=_forget)
