"""The event loop of a service, its signal handlers, and the end of its tasks."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Collection, Iterator
from typing import Any

#: Seconds that a task which was cancelled may take to end.
_LAST_GRACE = 1.0


def new_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop: uvloop's if it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


@contextlib.contextmanager
def drain_on_signals(drain: Callable[[], None]) -> Iterator[None]:
    """Have SIGTERM and SIGINT call *drain*, if this thread can handle signals."""
    loop = asyncio.get_running_loop()
    before = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        handler = signal.getsignal(number)
        try:
            loop.add_signal_handler(number, drain)
        except (ValueError, RuntimeError, NotImplementedError):
            continue
        before[number] = handler
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


async def cancel_tasks(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel *tasks*, and leave those that do not end within a second."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_LAST_GRACE)
