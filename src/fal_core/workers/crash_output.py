"""
What a worker leaves unread when it ends on the way.

Lines that are printed below Python go through pipes, which the worker itself reads. The
host holds their other ends as well: what a crash has written last is still in there.
"""

from __future__ import annotations

import fcntl
import marshal
import os
import time
from collections.abc import Sequence

from fal_core_worker.output import standard_streams

_BLOCK = 65536


class Remains:
    """
    The pipes of one worker: of its standard output, and of its standard error.

    Attributes:
        given: The descriptors that the worker inherits, a reader and a writer for each.
            Whoever starts it closes them then by :meth:`close_given`.
    """

    def __init__(self) -> None:
        self._readers: list[int] = []
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
        """
        Close what the worker has inherited.
        """
        for descriptor in self.given:
            os.close(descriptor)
        self.given = ()

    def take(self, channel: int) -> bytes:
        """
        Return what is left, as the payload of a LOG frame of *channel*; empty if nothing.
        """
        lines = []
        for level, reader in enumerate(self._readers):
            text = _read_all(reader).decode("utf-8", "backslashreplace").rstrip("\n")
            if text:
                lines.append((level, time.time(), channel, 0, text))
        return marshal.dumps(lines, 2) if lines else b""

    def close(self) -> None:
        """
        Close the ends that the host holds.
        """
        readers, self._readers = self._readers, []
        for reader in readers:
            os.close(reader)


def _read_all(reader: int) -> bytes:
    data = b""
    try:
        # What children of the worker go on writing is not waited for.
        while len(data) < 2 * standard_streams.SIZE and (part := os.read(reader, _BLOCK)):
            data += part
    except OSError:
        pass
    return data
