"""Deadlines: a law that takes too long fails, regardless of what the host does."""

from __future__ import annotations

import linecache
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

#: Seconds between two interrupts, for code that waits again while it cleans up.
_AGAIN = 5.0


@contextmanager
def deadline(seconds: float, what: str, told: Callable[[], str] = lambda: "") -> Iterator[None]:
    """
    Interrupt the body with an AssertionError if it takes longer than *seconds*.

    It works on the main thread only; on another thread there is no deadline.

    Arguments:
        what: What takes that long, as the subject of the sentence.

        told: Returns sentences about what has arrived until then.
    """
    main = threading.main_thread()
    if threading.current_thread() is not main:
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        at = line_of_the_test(frame)
        waited = f" It waited in {at}." if at else ""
        raise AssertionError(
            f"{what} did not end within {seconds:g} s.{waited} {told()}".rstrip()
        )

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


def line_of_the_test(frame: FrameType | None) -> str:
    """Return which line of a test *frame* was called by: its text, its file and its number."""
    while frame is not None and not frame.f_code.co_name.startswith("test_"):
        frame = frame.f_back
    if frame is None:
        return ""
    path, number = frame.f_code.co_filename, frame.f_lineno
    return f"`{linecache.getline(path, number).strip()}` ({Path(path).name}, line {number})"
