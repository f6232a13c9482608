"""Services on threads of this process, each with an event loop of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from fal_testing.harness.requests import is_reachable


class InProcessService:
    """The service of one call: a coroutine in an event loop that other threads can end."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._drain: Callable[[], None] = lambda: None

    def run(
        self,
        coroutine: Coroutine[Any, Any, None],
        loop: asyncio.AbstractEventLoop,
        drain: Callable[[], None],
    ) -> None:
        """Run *coroutine* in *loop*, on this thread, until it ends."""
        asyncio.set_event_loop(loop)
        self._drain, self._task = drain, loop.create_task(coroutine)
        self._loop = loop
        try:
            loop.run_until_complete(self._task)
        finally:
            self._loop = None
            asyncio.set_event_loop(None)
            loop.close()

    def drain(self) -> None:
        """Accept no more requests, and end once those that run are answered."""
        self._call(self._drain)

    def cancel(self, grace: float) -> bool:
        """
        Drain it, and cancel what still runs after *grace* seconds; return False if
        nothing runs.
        """

        def end() -> None:
            assert self._loop is not None
            assert self._task is not None
            self._drain()
            self._loop.call_later(grace, self._task.cancel)

        return self._call(end)

    def _call(self, action: Callable[[], object]) -> bool:
        loop = self._loop
        if loop is not None:
            # It may end at this moment.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(action)
                return True
        return False


def tell_when_reachable(url: str, tell: Callable[[], None], ended: threading.Event) -> None:
    """Call *tell* from a thread once *url* accepts connections, unless *ended* comes first."""

    def look() -> None:
        while not ended.wait(0.02):
            if is_reachable(url):
                tell()
                return

    threading.Thread(target=look, name="service", daemon=True).start()
