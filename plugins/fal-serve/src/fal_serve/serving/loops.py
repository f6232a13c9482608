"""
The event loop of a service, and its signal handlers.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator


def new_loop() -> asyncio.AbstractEventLoop:
    """
    Return an event loop: uvloop's if it is installed.
    """
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


@contextlib.contextmanager
def drain_on_signals(drain: Callable[[], None]) -> Iterator[None]:
    """
    Have SIGTERM and SIGINT call *drain*, if this thread can handle signals.
    """
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
