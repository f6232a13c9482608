"""
The last output of a worker that has crashed.

Lines that are printed below Python go through pipes, which the worker itself reads. The
host has the reading ends open as well, and finds there what the worker could not read.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Sequence
from typing import Any

from fal_core_worker.output import standard_streams
from fal_core_worker.stream.payloads import pack_lines

_BLOCK = 65536


class CrashOutput:
    """
    The pipes that one worker's standard output and standard error go through.

    Attributes:
        given: The descriptors that the worker inherits, a reader and a writer for each
            pipe. The host closes them after the start with :meth:`close_given`.

        place: Where in its function the worker crashed; empty until :meth:`take` has found it.
    """

    def __init__(self) -> None:
        self._readers: list[int] = []
        self.place: str = ""
        self.given: Sequence[int] = ()
        given: list[int] = []
        try:
            for _ in range(2):
                reader, writer = os.pipe()
                given += (reader, writer)
                os.set_blocking(reader, False)
                self._readers.append(fcntl.fcntl(reader, fcntl.F_DUPFD_CLOEXEC, 0))
                standard_streams.widen(writer)
        except OSError:
            self.close()
            raise
        finally:
            self.given = given

    def close_given(self) -> None:
        """Close the descriptors that the worker has inherited."""
        for descriptor in self.given:
            os.close(descriptor)
        self.given = ()

    def take(self, channel: int) -> bytes:
        """Return the unread lines as the payload of a LOG frame of *channel*, or empty bytes."""
        lines: list[Any] = []
        for level, reader in enumerate(self._readers):
            text = _read_all(reader).decode("utf-8", "backslashreplace").rstrip("\n")
            if "Fatal Python error: " in text:
                # Few workers crash.
                from fal_core.workers.crash_reports import split_report

                text, self.place = split_report(text)
            if text:
                lines.append((level, time.time(), channel, 0, text))
        return b"".join(pack_lines(lines))

    def close(self) -> None:
        """Close the reading ends of the host."""
        readers, self._readers = self._readers, []
        for reader in readers:
            os.close(reader)


def _read_all(reader: int) -> bytes:
    data = b""
    try:
        # Children of the worker may go on writing; that is not waited for.
        while len(data) < 2 * standard_streams.SIZE and (part := os.read(reader, _BLOCK)):
            data += part
    except OSError:
        pass
    return data
