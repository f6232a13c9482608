"""Lines that threads of this process print, sorted by the call that each runs."""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import attrs

from fal_core.calls import Call
from fal_core.events import Level, Log
from fal_core_worker.serving.services import request_id

#: Least seconds between two events for a line that has not ended.
_AGAIN = 0.1


class CallPrinter:
    """
    Turns the lines that one call prints into events.

    Attributes:
        index: The item of the batch that runs.
    """

    def __init__(self, call: Call, deliver: Callable[[Log], None]) -> None:
        self.index = 0
        self._call = call
        self._deliver = deliver
        self._lock = threading.RLock()
        self._partial: dict[Level, str] = {}
        self._not_before = 0.0

    def write(self, level: Level, text: str) -> None:
        """Add *text*, and deliver the lines that it completes."""
        with self._lock:
            *lines, rest = (self._partial.get(level, "") + text).split("\n")
            self._partial[level] = rest
            for line in lines:
                self._deliver(self._log(level, line))

    def show(self, level: Level) -> None:
        """Deliver the visible part of a line that has not ended, after a flush."""
        with self._lock:
            seen = self._partial.get(level, "").rstrip("\r").rpartition("\r")[2]
            if seen and time.monotonic() >= self._not_before:
                self._not_before = time.monotonic() + _AGAIN
                self._deliver(attrs.evolve(self._log(level, seen), partial=True))

    def flush(self) -> None:
        """Deliver lines that have not ended."""
        with self._lock:
            partial, self._partial = self._partial, {}
            for level, text in partial.items():
                if text:
                    self._deliver(self._log(level, text))

    def _log(self, level: Level, line: str) -> Log:
        name = f"{self._call.id}/{self.index}" if self._call.batch else self._call.id
        return Log(line, level, "USER", time.time(), name, request_id.get() or None)


class CallOutput(io.TextIOBase):
    """A standard stream that passes text to the call of its thread, or to the real stream."""

    def __init__(self, level: Level, beneath: Any) -> None:
        self.beneath = beneath
        self._level: Level = level

    def write(self, text: str) -> int:
        printer = current.get()
        if printer is None:
            return int(self.beneath.write(text))
        printer.write(self._level, text)
        return len(text)

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """Do nothing: the real stream is another's, and may have been closed before."""

    def flush(self) -> None:
        printer = current.get()
        if printer is None:
            self.beneath.flush()
        else:
            printer.show(self._level)


#: The printer of the call that this thread or task runs.
current: ContextVar[CallPrinter | None] = ContextVar("current", default=None)

_lock = threading.Lock()
_users = 0
# Kept, as a thread that prints at the moment may have no reference of its own: print() of
# CPython before 3.14 borrows that of ``sys``.
_outputs: dict[str, CallOutput] = {}


@contextmanager
def printed_by(printer: CallPrinter | None) -> Iterator[None]:
    """Send what this thread prints to *printer*; None leaves it on the real stream."""
    _install(1)
    token = current.set(printer)
    try:
        yield
    finally:
        current.reset(token)
        _install(-1)


def _install(change: int) -> None:
    """Replace the standard streams, or put the real ones back after the last user."""
    global _users
    levels: tuple[tuple[str, Level], ...] = (("stdout", "STDOUT"), ("stderr", "STDERR"))
    with _lock:
        _users += change
        for name, level in levels:
            stream = getattr(sys, name)
            if _users and not isinstance(stream, CallOutput):
                output = _outputs.get(name)
                if output is None or output.beneath is not stream:
                    output = _outputs[name] = CallOutput(level, stream)
                setattr(sys, name, output)
            elif not _users and isinstance(stream, CallOutput):
                setattr(sys, name, stream.beneath)
