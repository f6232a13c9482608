"""
Output: what the function prints, caught at every level, as frames.

``sys.stdout`` and ``sys.stderr`` are replaced, so that lines carry the call
that printed them. File descriptors 1 and 2 become pipes, so that what is
printed below Python, or by children, arrives as well.
"""

from __future__ import annotations

import fcntl
import io
import marshal
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

LEVELS = ("STDOUT", "STDERR", "DEBUG", "INFO", "WARNING", "ERROR")
_BLOCK = 65536
_PIPE_SIZE = 1 << 20
_F_SETPIPE_SZ = 1031


class Output:
    """
    All that is printed in this process.

    Attributes:
        current: Returns the (channel, index) of the call that this code runs in. In
            a service the index is the id of the request, as text.

        current_below: The same for output below Python.
    """

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._lock = threading.RLock()
        self._block: list[tuple[int, float, int, int | str, str]] = []
        self._size = 0
        self._partial: dict[tuple[int, int, int | str], str] = {}
        self._pipes: dict[int, int] = {}
        self._raw: dict[int, bytes] = {}
        self._poll = select.poll()
        self._fflush: Any = None
        self.current: Callable[[], tuple[int, int | str]] = lambda: (0, 0)
        self.current_below: Callable[[], tuple[int, int | str]] = lambda: (0, 0)

    # -- catching ------------------------------------------------------------

    def install(self) -> None:
        """
        Replace the standard streams and descriptors 0, 1 and 2.
        """
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        for level in (0, 1):
            self._catch(level)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - it lives as long as the process
        printed: Any = (PrintedText(self, 0), PrintedText(self, 1))
        sys.stdout, sys.stderr = printed
        # What programs fall back to is caught as well.
        sys.__dict__.update(__stdout__=printed[0], __stderr__=printed[1])

    def _catch(self, level: int) -> None:
        """
        Make a pipe of the descriptor that *level* is printed to below Python.
        """
        reader, writer = os.pipe()
        try:
            fcntl.fcntl(writer, _F_SETPIPE_SZ, _PIPE_SIZE)
        except OSError:
            pass
        if writer != level + 1:
            os.dup2(writer, level + 1)
            os.close(writer)
        else:
            os.set_inheritable(writer, True)
        high = fcntl.fcntl(reader, fcntl.F_DUPFD_CLOEXEC, 64)
        os.close(reader)
        os.set_blocking(high, False)
        self._pipes[level] = high
        self._poll.register(high, select.POLLIN)

    @property
    def descriptors(self) -> list[int]:
        """
        The descriptors that become readable when something was printed below Python.
        """
        return list(self._pipes.values())

    @property
    def is_writing(self) -> bool:
        """
        Whether this thread is in the middle of adding or sending output.
        """
        return self._lock._is_owned()  # type: ignore[attr-defined,no-any-return]

    def add(self, level: int, text: str) -> None:
        """
        Take *text* that the calling code has printed.
        """
        channel, index = self.current()
        with self._lock:
            key = (level, channel, index)
            text = self._partial.pop(key, "") + text
            lines, _, rest = text.rpartition("\n")
            if rest:
                self._partial[key] = rest
            if lines or text.endswith("\n"):
                self._append(level, channel, index, lines)
            elif len(rest) > _BLOCK:
                self._append(level, channel, index, self._partial.pop(key))
            if self._size < _BLOCK:
                return
        self.flush()

    def write(self, level: str, line: str) -> None:
        """
        Take a whole line that was not printed, but written to the log.
        """
        channel, index = self.current()
        with self._lock:
            self._append(LEVELS.index(level), channel, index, line)
            if self._size < _BLOCK:
                return
        self.flush()

    def flush(self, final: bool = False) -> None:
        """
        Send what was printed; *final* also sends lines that have no end yet.
        """
        self._read_pipes(final)
        with self._lock:
            if final:
                for (level, channel, index), text in self._partial.items():
                    self._append(level, channel, index, text)
                self._partial.clear()
            if self._block:
                block, self._block, self._size = self._block, [], 0
                self._send(marshal.dumps(block, 2))

    def flush_call(self) -> None:
        """
        Send everything that was printed until now, as a call ends.
        """
        if self._fflush is None and "ctypes" in sys.modules:
            self._fflush = sys.modules["ctypes"].CDLL(None).fflush
        if self._fflush is not None:
            self._fflush(None)
        if self._block or self._partial or self._raw or self._is_printed_below():
            self.flush(final=True)

    def _is_printed_below(self) -> bool:
        try:
            return bool(self._poll.poll(0))
        except RuntimeError:
            # Another thread asks at the same time, which it may not.
            return True

    # -- below Python ----------------------------------------------------------

    def _read_pipes(self, final: bool) -> None:
        with self._lock:
            for level, reader in list(self._pipes.items()):
                while True:
                    try:
                        data = os.read(reader, _BLOCK)
                    except BlockingIOError:
                        break
                    if not data:
                        # The function has closed it; the next one may need it.
                        self._poll.unregister(reader)
                        os.close(reader)
                        self._catch(level)
                        break
                    self._add_raw(level, data)
                if final and level in self._raw:
                    self._append_raw(level, self._raw.pop(level))

    def _add_raw(self, level: int, data: bytes) -> None:
        data = self._raw.pop(level, b"") + data
        lines, end, rest = data.rpartition(b"\n")
        if rest:
            self._raw[level] = rest
        if end:
            self._append_raw(level, lines)
        elif len(rest) > _BLOCK:
            self._append_raw(level, self._raw.pop(level))

    def _append_raw(self, level: int, data: bytes) -> None:
        channel, index = self.current_below()
        self._append(level, channel, index, data.decode("utf-8", "backslashreplace"))

    def _append(self, level: int, channel: int, index: int | str, lines: str) -> None:
        self._block.append((level, time.time(), channel, index, lines))
        self._size += len(lines)


class PrintedText(io.TextIOBase):
    """
    A text stream whose lines become log frames.
    """

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, output: Output, level: int) -> None:
        self._output = output
        self._level = level
        self.buffer = PrintedBytes(self)

    @property
    def name(self) -> str:
        return "<stderr>" if self._level else "<stdout>"

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            kind = type(text).__name__
            raise TypeError(f"write() argument must be str, not {kind}")
        self._output.add(self._level, text)
        return len(text)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._level + 1

    def isatty(self) -> bool:
        return False

    def flush(self) -> None:
        pass

    def close(self) -> None:
        """
        Do nothing: what is printed later is still wanted.
        """

    def reconfigure(self, **options: Any) -> None:
        """
        Accept what programs ask of a real stream.
        """


class PrintedBytes(io.BufferedIOBase):
    """
    The ``buffer`` of a :class:`PrintedText`.
    """

    def __init__(self, text: PrintedText) -> None:
        self._text = text

    def write(self, data: Any) -> int:
        self._text.write(bytes(data).decode("utf-8", "backslashreplace"))
        return len(data)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._text.fileno()

    def flush(self) -> None:
        pass

    def close(self) -> None:
        """
        Do nothing, as for the text.
        """
