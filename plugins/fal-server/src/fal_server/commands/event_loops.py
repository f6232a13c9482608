"""The event loop: uvloop where it is installed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

logger = logging.getLogger(__name__)

#: The signals that end a server.
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def make_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def run_to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Run *work* in an event loop of its own, and end the tasks that it has left behind."""
    loop = make_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(work)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        asyncio.set_event_loop(None)
        loop.close()


class Ending:
    """
    How a process ends by a signal: the first one lets it end in order, which takes so many
    seconds at most, and the next one ends it at once.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._has_begun = False

    @contextlib.contextmanager
    def watch(self, stop: Callable[[], object]) -> Iterator[None]:
        """Call *stop* in the event loop that runs, on the first signal while this context lasts."""
        loop = asyncio.get_running_loop()

        def end(*_: object) -> None:
            # Not by the event loop, which may stand still.
            for number in _SIGNALS:
                # The system ends the process by the next one, even where a thread is stuck.
                signal.signal(number, signal.SIG_DFL)
            if not self._has_begun:
                self._has_begun = True
                self._limit()
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(stop)

        before = {number: signal.signal(number, end) for number in _SIGNALS}
        try:
            yield
        finally:
            if not self._has_begun:
                for number, handler in before.items():
                    signal.signal(number, handler)

    def _limit(self) -> None:
        """End the process in a while. It has to end until then, with all its threads."""
        timer = threading.Timer(self._seconds, self._give_up)
        timer.daemon = True
        timer.start()

    def _give_up(self) -> None:
        logger.error("The server did not end in order within %g s.", self._seconds)
        os._exit(1)
