"""
Capture of what the function prints, at every level.

``sys.stdout`` and ``sys.stderr`` are replaced, so that lines carry the call that printed
them. File descriptors 1 and 2 become pipes, so that what is printed below Python, or by
child processes, is captured as well.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence

from fal_core_worker.output.standard_streams import Pipes, PrintedText, high_pipe
from fal_core_worker.stream.frames import LEVELS, PARTIAL, RECORD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BLOCK = 65536
#: Characters: from this length on, overwritten parts of a line are not kept.
_OVERWRITTEN = 1024
#: Seconds after which an incomplete line is sent, and between later updates of it.
_SOON, _AGAIN = 0.02, 0.1
#: Seconds for which a print need not check what was printed below Python.
_BELOW = 0.0005


class Output:
    """
    Everything that is printed in this process.

    Arguments:
        send: Sends a list of (level, time, channel, index, lines).

        pipes: Descriptors for what is printed below Python, a reader and a writer for
            each of the two streams, if the process that has started this one made them.

    Attributes:
        current: Returns the (channel, index) of the call that the calling code belongs to.
            In a service the index is the id of the request, as text.

        current_below: The same for what is printed below Python.
    """

    def __init__(self, send: Callable[[list[Any]], None], pipes: Sequence[int] = ()) -> None:
        self._send = send
        self._lock = threading.RLock()
        self._block: list[tuple[int, float, int, int | str, str]] = []
        self._size = 0
        self._partial: dict[tuple[int, int, int | str], str] = {}
        self._pipes = Pipes(pipes)
        self._raw: dict[int, bytes] = {}
        # Whether a thread is moving text out of the pipes, and whether one is sending a block.
        self._reading = self._sending = False
        # When incomplete lines may be sent. Lines below Python have their level as key.
        self._due: dict[Any, float] = {}
        self._not_before: dict[Any, float] = {}
        self._flushed: set[Any] = set()
        self._looked = 0.0
        self._bell: tuple[int, int] | None = None
        self._resting = self._rung = False
        self._fflush: Any = None
        self.current: Callable[[], tuple[int, int | str]] = lambda: (0, 0)
        self.current_below: Callable[[], tuple[int, int | str]] = lambda: (0, 0)

    # -- capture ------------------------------------------------------------

    def install(self) -> None:
        """Replace the standard streams and descriptors 0, 1 and 2."""
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        for level in (0, 1):
            self._pipes.add(level)
            # It was the worker's stream, which has been moved to other descriptors.
            os.closerange(level + 1, level + 2)
            self._pipes.connect()
        sys.stdin = open(0, closefd=False)  # noqa: SIM115  # it lives as long as the process
        printed: Any = (PrintedText(self, 0), PrintedText(self, 1))
        sys.stdout, sys.stderr = printed
        # The originals, which some programs print to, are replaced as well.
        sys.__dict__.update(__stdout__=printed[0], __stderr__=printed[1])

    @property
    def descriptors(self) -> list[int]:
        """The descriptors that become readable when something is printed below Python."""
        return list(self._pipes.readers.values())

    @property
    def is_waiting(self) -> bool:
        """Whether something printed in Python has yet to be sent."""
        return bool(self._block or self._due)

    def rest(self) -> int:
        """
        Return a descriptor that becomes readable when something is printed in Python.

        It stays readable until the next :meth:`flush`.
        """
        if self._bell is None:
            self._bell = high_pipe()
        with self._lock:
            self._resting = True
            if self._block:
                self._ring()
        return self._bell[0]

    def _ring(self) -> None:
        assert self._bell is not None
        self._resting, self._rung = False, True
        os.write(self._bell[1], b"\0")

    @property
    def is_writing(self) -> bool:
        """Whether this thread is adding or sending output at the moment."""
        # Nothing public tells who holds it.
        return self._lock._is_owned()  # type: ignore[attr-defined,no-any-return]

    def add(self, level: int, text: str) -> None:
        """Add *text* that the calling code has printed."""
        channel, index = self.current()
        with self._lock:
            now = time.time()
            if now - self._looked > _BELOW:
                # What a child process has printed before comes first.
                self._looked = now
                if self._pipes.is_readable():
                    self._read_pipes(final=False)
            key = (level, channel, index)
            text = self._partial.pop(key, "") + text
            lines, end, rest = text.rpartition("\n")
            if end:
                if key in self._flushed:
                    first, line_end, others = lines.partition("\n")
                    lines = last_written(first) + line_end + others
                if self._due or self._not_before:
                    self._forget(key)
                self._append(level, channel, index, lines)
            if rest:
                self._add_partial(key, rest)
            if self._resting and self.is_waiting:
                self._ring()
            # Standard error is sent line by line, as Python's own stream does it.
            if self._size < _BLOCK and not (end and level):
                return
        self.flush()

    def write(self, level: str, line: str, logger: str | None = None) -> None:
        """
        Add a whole line that was written to the log, not printed.

        Arguments:
            logger: The logger of a record, which may have many lines.
        """
        channel, index = self.current()
        number = LEVELS.index(level)
        if logger is not None:
            number += RECORD
            line = " ".join(logger.split("\n")) + "\n" + line
        with self._lock:
            self._append(number, channel, index, line)
            if self._size < _BLOCK and logger is None:
                return
        self.flush()

    def end_lines(self) -> None:
        """End the lines that the calling code has begun: it prints no more to them."""
        if not self._partial:
            return
        channel, index = self.current()
        with self._lock:
            for key in ((0, channel, index), (1, channel, index)):
                text = self._partial.pop(key, "")
                if text:
                    self._append(*key, last_written(text) if key in self._flushed else text)
                self._forget(key)

    def _add_partial(self, key: tuple[int, int, int | str], text: str) -> None:
        if "\r" in text:
            # Such as a progress bar, which is shown even if it is not flushed.
            self._show_soon(key)
            if len(text) > _OVERWRITTEN:
                text = last_written(text)
        if len(text) > _BLOCK:
            self._append(*key, text)
        else:
            self._partial[key] = text

    def flush_line(self, level: int) -> None:
        """Send the complete lines, and have the incomplete one sent soon."""
        if self._block:
            self.flush()
        key = (level, *self.current())
        if key in self._due and key in self._flushed:
            return
        with self._lock:
            if key in self._partial:
                self._show_soon(key)
                self._flushed.add(key)
                if self._resting:
                    self._ring()

    def _forget(self, key: Any) -> None:
        self._due.pop(key, None)
        self._not_before.pop(key, None)
        self._flushed.discard(key)

    def _show_soon(self, key: Any) -> None:
        if key not in self._due:
            due = time.monotonic() + _SOON
            self._due[key] = max(due, self._not_before.get(key, 0.0))

    def flush(self, final: bool = False, *, of: int | None = None) -> None:
        """
        Send what was printed. If *final*, incomplete lines are sent as well.

        Arguments:
            of: The channel whose incomplete lines are sent. None for all.
        """
        self._read_pipes(final)
        with self._lock:
            if self._rung and self._bell is not None:
                self._rung = False
                os.read(self._bell[0], 1)
            self._resting = False
            if final:
                for key in [each for each in self._partial if of is None or each[1] == of]:
                    text = self._partial.pop(key)
                    self._append(*key, last_written(text) if key in self._flushed else text)
                    self._forget(key)
            if self._due:
                self._append_due()
            if self._block:
                self._sending = True
                try:
                    block, self._block, self._size = self._block, [], 0
                    self._send(block)
                finally:
                    self._sending = False

    def _append_due(self) -> None:
        now = time.monotonic()
        for key in [key for key, due in self._due.items() if due <= now]:
            del self._due[key]
            self._not_before[key] = now + _AGAIN
            self._flushed.add(key)
            if isinstance(key, int):
                # A character of which some bytes are missing is not shown.
                text = self._raw.get(key, b"").decode("utf-8", "ignore")
                level, place = key, self.current_below()
            else:
                text = self._partial.get(key, "")
                level, place = key[0], key[1:]
            shown = last_written(text).rstrip("\r")
            if shown:
                self._append(level + PARTIAL, *place, shown)

    def flush_call(self, *, last: bool = False) -> None:
        """
        Send everything that was printed so far, as a call ends.

        Arguments:
            last: Whether this process ends. Otherwise lines that other calls have begun
                stay incomplete.
        """
        if self._fflush is None and "ctypes" in sys.modules:
            self._fflush = sys.modules["ctypes"].CDLL(None).fflush
        if self._fflush is not None:
            self._fflush(None)
        # Another thread may be moving text on, from each of these to the next. They are asked
        # in that order, so that no text passes unseen.
        if (
            self._pipes.is_readable()
            or self._reading
            or self._raw
            or self._partial
            or self._block
            or self._sending
        ):
            self.flush(final=True, of=None if last else self.current()[0])
        if self._pipes.unconnected:
            with self._lock:
                self._pipes.connect()

    def leave(self) -> None:
        """Print to the pipes from now on. Called in a forked child, whose parent captures them."""
        # A thread that the fork has not copied may have held the lock.
        self._lock = threading.RLock()
        self._block, self._size, self._partial = [], 0, {}
        self.add = self._write_below  # type: ignore[method-assign]  # in a forked child
        self.flush_line = self._flush_below  # type: ignore[method-assign]  # in a forked child
        self.flush = self._flush_nothing  # type: ignore[method-assign]  # likewise

    def _write_below(self, level: int, text: str) -> None:
        key = (level, 0, 0)
        with self._lock:
            text = self._partial.pop(key, "") + text
            lines, end, rest = text.rpartition("\n")
            if rest:
                self._partial[key] = rest
            if end:
                _write_whole(level + 1, lines + end)

    def _flush_nothing(self, final: bool = False, *, of: int | None = None) -> None:
        """Do nothing: what is printed has been written already."""

    def _flush_below(self, level: int) -> None:
        with self._lock:
            text = self._partial.pop((level, 0, 0), "")
            if text:
                _write_whole(level + 1, text)

    # -- below Python ----------------------------------------------------------

    def _read_pipes(self, final: bool) -> None:
        with self._lock:
            self._reading = True
            for level, reader in list(self._pipes.readers.items()):
                while True:
                    try:
                        data = os.read(reader, _BLOCK)
                    except BlockingIOError:
                        break
                    if not data:
                        # The function has closed the descriptor. The next one may need it.
                        self._pipes.add(level)
                        self._pipes.connect()
                        break
                    self._add_raw(level, data)
                if final and level in self._raw:
                    self._forget(level)
                    self._append_raw(level, self._raw.pop(level))
            self._reading = False

    def _add_raw(self, level: int, data: bytes) -> None:
        data = self._raw.pop(level, b"") + data
        lines, end, rest = data.rpartition(b"\n")
        if end:
            if level in self._flushed:
                first, line_end, others = lines.partition(b"\n")
                lines = first[first.rstrip(b"\r").rfind(b"\r") + 1 :] + line_end + others
            self._forget(level)
            self._append_raw(level, lines)
        if len(rest) > _BLOCK:
            self._append_raw(level, rest)
        elif rest:
            self._raw[level] = rest
            self._show_soon(level)

    def _append_raw(self, level: int, data: bytes) -> None:
        channel, index = self.current_below()
        self._append(level, channel, index, data.decode("utf-8", "backslashreplace"))

    def _append(self, level: int, channel: int, index: int | str, lines: str) -> None:
        self._block.append((level, time.time(), channel, index, lines))
        self._size += len(lines)


def last_written(text: str) -> str:
    """Return the visible part of a line, after what its carriage returns have overwritten."""
    seen = text.rstrip("\r")
    return text[seen.rfind("\r") + 1 :]


def _write_whole(descriptor: int, text: str) -> None:
    data = text.encode("utf-8", "backslashreplace")
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError:
        pass
