"""Words: what the program around a worker prints, such as a container engine."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from fal_core.sinks import get_event_thread

#: Bytes: so much of it is kept for the error.
_KEPT = 4096
#: Bytes of a line that is passed on.
_LONGEST_LINE = 8192


class Words:
    """
    Reads what a program prints, until it has ended.

    Arguments:
        descriptor: What is read, and closed at the end.

        say: Takes each line.
    """

    def __init__(self, descriptor: int, say: Callable[[str], None]) -> None:
        self._descriptor = descriptor
        self._say = say
        self._line = b""
        self._last = b""
        self._lock = threading.RLock()
        os.set_blocking(descriptor, False)
        get_event_thread().follow(self)

    def fileno(self) -> int:
        return self._descriptor

    def read_ready(self) -> bool:
        with self._lock:
            self._read()
            return self._descriptor >= 0

    def finish(self) -> str:
        """Read what is left, and return the last of all that was printed."""
        with self._lock:
            while self._read():
                pass
            self._close()
        return self._last.decode(errors="replace").strip()

    def _read(self) -> bool:
        """Read once; return False where there is nothing more."""
        if self._descriptor < 0:
            return False
        try:
            part = os.read(self._descriptor, 65536)
        except OSError:
            # Another thread has read it meanwhile.
            return False
        if not part:
            self._close()
            return False
        self._last = (self._last + part)[-_KEPT:]
        *lines, self._line = (self._line + part).split(b"\n")
        self._line = self._line[:_LONGEST_LINE]
        self._tell(lines)
        return True

    def _close(self) -> None:
        if self._descriptor < 0:
            return
        # Its number may be given to another source once it is closed.
        get_event_thread().unfollow(self)
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)
        line, self._line = self._line, b""
        self._tell([line] if line else [])

    def _tell(self, lines: list[bytes]) -> None:
        for line in lines:
            self._say(line[:_LONGEST_LINE].decode(errors="replace").rstrip("\r"))
