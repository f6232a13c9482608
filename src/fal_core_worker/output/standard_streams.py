"""What takes the place of the standard streams: text streams in Python, and pipes below it."""

from __future__ import annotations

import fcntl
import io
import os
import select
from collections.abc import Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Receiver(Protocol):
        """Takes what is printed, by level: 0 for standard output, 1 for standard error."""

        def add(self, level: int, text: str) -> None: ...
        def flush_line(self, level: int) -> None: ...


SIZE = 1 << 20
_F_SETPIPE_SZ = 1031


class Pipes:
    """
    The pipes of standard output, level 0, and standard error, level 1, of this process.

    Once calls run, :meth:`add` and :meth:`connect` are called under the lock of the
    output.

    Arguments:
        given: A reader and a writer for each level, if the process that has started this
            one made them.

    Attributes:
        readers: The descriptors that what is printed is read from, by level.

        unconnected: The writing ends that have yet to become the descriptors which
            programs print to, by level.
    """

    __slots__ = ("_given", "_poll", "readers", "unconnected")

    def __init__(self, given: Sequence[int]) -> None:
        self.readers: dict[int, int] = {}
        self.unconnected: dict[int, int] = {}
        self._given = [(given[at], given[at + 1]) for at in range(0, len(given), 2)]
        self._poll = select.poll()

    def add(self, level: int) -> None:
        """Make a pipe for what is printed to *level*, which is not connected yet."""
        if self._given:
            reader, writer = self._given.pop(0)
        else:
            reader, writer = high_pipe()
            widen(writer)
        high = self.readers.get(level)
        if high is None:
            high = self.readers[level] = fcntl.fcntl(reader, fcntl.F_DUPFD_CLOEXEC, 64)
            self._poll.register(high, select.POLLIN)
        else:
            # Threads may be polling this number: it refers to the new pipe from now on.
            os.dup2(reader, high, inheritable=False)
        os.close(reader)
        os.set_blocking(high, False)
        self.unconnected[level] = writer

    def connect(self) -> None:
        """
        Make the pipes the descriptors 1 and 2 again, if the function has closed these.

        A descriptor that the function has opened itself stays as it is.
        """
        for level, writer in list(self.unconnected.items()):
            copy = fcntl.fcntl(writer, fcntl.F_DUPFD, level + 1)
            if copy == level + 1:
                os.close(self.unconnected.pop(level))
            else:
                os.close(copy)

    def is_readable(self) -> bool:
        """Tell whether something was printed that has not been read."""
        try:
            return bool(self._poll.poll(0))
        except RuntimeError:
            # Another thread is polling at this moment, which a poll object refuses.
            return True


def high_pipe() -> tuple[int, int]:
    """Make a pipe with descriptors high enough that no program uses their numbers."""
    low = os.pipe()
    reader, writer = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 64) for end in low)
    for end in low:
        os.close(end)
    return reader, writer


def widen(writer: int) -> None:
    """Enlarge the buffer of a pipe to :data:`SIZE`, where the system allows it."""
    try:
        fcntl.fcntl(writer, _F_SETPIPE_SZ, SIZE)
    except OSError:
        pass


class PrintedText(io.TextIOBase):
    """A text stream that hands what is printed to *receiver*."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, receiver: Receiver, level: int) -> None:
        self._receiver = receiver
        self._level = level
        self.buffer = PrintedBytes(self)

    @property
    def name(self) -> str:
        return "<stderr>" if self._level else "<stdout>"

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            kind = type(text).__name__
            raise TypeError(f"write() argument must be str, not {kind}")
        self._receiver.add(self._level, text)
        return len(text)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._level + 1

    def isatty(self) -> bool:
        return False

    def flush(self) -> None:
        self._receiver.flush_line(self._level)

    def close(self) -> None:
        """Do nothing: what is printed later is captured as well."""

    def reconfigure(self, **options: Any) -> None:
        """Accept and ignore the options of a real stream."""


class PrintedBytes(io.BufferedIOBase):
    """The ``buffer`` of a :class:`PrintedText`."""

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
        self._text.flush()

    def close(self) -> None:
        """Do nothing, like the text stream."""
