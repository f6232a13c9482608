"""
What a Python prints before the worker in it starts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from fal_core.errors import HostError
from fal_core.events import Log
from fal_core.workers.bootstrap import REFUSAL
from fal_core_worker.stream import frames
from fal_core_worker.stream.frames import UnreadableFrame

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
