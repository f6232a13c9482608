"""
Deadlines: a law that takes too long fails, whatever the host does.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: Seconds between two interrupts, for code that waits again while it cleans up.
_AGAIN = 5.0


@contextmanager
def deadline(seconds: float, what: str) -> Iterator[None]:
    """
    Interrupt the body with an AssertionError if it takes longer than *seconds*.

    It works on the main thread only; on another thread there is no deadline.
    """
    main = threading.main_thread()
    if threading.current_thread() is not main:
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        raise AssertionError(f"{what} did not end within {seconds:g} s.")

    ended = threading.Event()

    def watch() -> None:
        wait = seconds
        while not ended.wait(wait):
            signal.pthread_kill(main.ident or 0, signal.SIGUSR2)
            wait = _AGAIN

    before = signal.signal(signal.SIGUSR2, interrupt)
    watcher = threading.Thread(target=watch, name="deadline", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        signal.signal(signal.SIGUSR2, before)
