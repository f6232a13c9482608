"""
``sys.stdout`` and ``sys.stderr`` of a worker.
"""

from __future__ import annotations

import io

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Receiver(Protocol):
        """
        Takes what is printed, by level: 0 for standard output, 1 for standard error.
        """

        def add(self, level: int, text: str) -> None: ...
        def flush_line(self, level: int) -> None: ...


class PrintedText(io.TextIOBase):
    """
    A text stream that hands what is printed to *receiver*.
    """

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
        """
        Do nothing: what is printed later is captured as well.
        """

    def reconfigure(self, **options: Any) -> None:
        """
        Accept and ignore the options of a real stream.
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
        self._text.flush()

    def close(self) -> None:
        """
        Do nothing, like the text stream.
        """
