"""
Queues of log lines that stay small however much is printed.
"""

from __future__ import annotations

import pickle
import tempfile
from collections import deque
from queue import Queue
from typing import IO, Any

#: Bytes of unread lines that stay in memory.
MEMORY = 8 << 20


class LogQueue(Queue[Any]):
    """
    A queue of log lines; beyond 8 MiB unread it goes on in an unlinked file.
    """

    def _init(self, maxsize: int) -> None:
        self.queue: deque[Any] = deque()
        self._size = 0
        self._file: IO[bytes] | None = None
        self._spooled = 0
        self._read_at = 0

    def _qsize(self) -> int:
        return len(self.queue) + self._spooled

    def _put(self, item: Any) -> None:
        size = len(getattr(item, "message", "")) + 200
        if not self._spooled and self._size + size <= MEMORY:
            self.queue.append(item)
            self._size += size
            return
        if self._file is None:
            # It is closed once everything in it was read, not at the end of a block.
            self._file = tempfile.TemporaryFile(prefix="fal-core-logs-")  # noqa: SIM115
        self._file.seek(0, 2)
        pickle.dump(item, self._file)
        self._spooled += 1

    def _get(self) -> Any:
        if self.queue:
            item = self.queue.popleft()
            self._size = self._size - len(getattr(item, "message", "")) - 200
            return item
        assert self._file is not None
        self._file.seek(self._read_at)
        item = pickle.load(self._file)
        self._read_at = self._file.tell()
        self._spooled -= 1
        if not self._spooled:
            self._file.close()
            self._file = None
            self._read_at = 0
        return item
