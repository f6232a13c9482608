"""
Banners: what a Python prints before the worker in it speaks.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from fal_core.events import Log
from fal_core_worker.stream import frames


class Banner:
    """
    The output of a login, a ``.pth`` file and the like, in front of the magic.

    Attributes:
        ended: Whether the magic has been read: from there on there are frames.
    """

    __slots__ = ("_data", "ended")

    def __init__(self) -> None:
        self.ended = False
        self._data = b""

    def read(self, reader: int, report: Callable[[Log], None]) -> bytes | None:
        """
        Read once, and return what follows the magic; None where nothing comes any more.

        Lines are reported when the magic, or the end, has been read.
        """
        try:
            chunk = os.read(reader, 65536)
        except OSError:
            chunk = b""
        data = self._data + chunk
        output, magic, rest = data.partition(frames.MAGIC)
        if not (magic or not chunk):
            self._data = data
            return b""
        for line in output.decode("utf-8", "backslashreplace").splitlines():
            report(Log(line, "STDERR", "BRIDGE", time.time()))
        self._data = b""
        self.ended = True
        return rest if chunk else None
