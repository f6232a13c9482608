"""The executor that CPython's tests are given, and an event that reaches its workers."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

from fal_core import Executor


class TestedExecutor(Executor):
    """An executor of workers with this Python, made as those of ``concurrent.futures`` are."""

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        super().__init__(
            "current",
            host="local",
            max_workers=max_workers,
            initializer=initializer,
            initargs=initargs,
        )


class FileEvent:
    """An event of several processes. It is set once its file is there."""

    def __init__(self) -> None:
        self._path = os.path.join(tempfile.mkdtemp(prefix="event-"), "set")

    def set(self) -> None:
        """Let everyone who waits go on."""
        with open(self._path, "w"):
            pass

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, at most *timeout* seconds; tell whether it is."""
        until = None if timeout is None else time.monotonic() + timeout
        while not os.path.exists(self._path):
            if until is not None and time.monotonic() > until:
                return False
            time.sleep(0.01)
        return True
