"""
Event intakes: where the events of hosts come in, from any thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from fal_core.events import Event

#: The most events of one runner that wait for the loop. Its host waits with further ones,
#: and its functions with printing.
_MOST = 1000
#: Seconds between two checks whether the loop has ended.
_LOOK = 1.0


class EventIntake:
    """
    Hands the events of one runner to the loop of the server, as fast as that handles them.

    Arguments:
        handle: Called on the loop with each event.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, handle: Callable[[Event], None]
    ) -> None:
        self._loop = loop
        self._handle = handle
        self._room = threading.Semaphore(_MOST)

    def __call__(self, event: Event) -> None:
        """
        Take *event*; in a thread of a host, wait until there is room for it.
        """
        try:
            if self._is_on_loop():
                self._loop.call_soon(self._handle, event)
                return
            while not self._room.acquire(timeout=_LOOK):
                if self._loop.is_closed():
                    return
            self._loop.call_soon_threadsafe(self._handle_waiting, event)
        except RuntimeError:
            # The control plane has ended; the next one finds detached runners again.
            pass

    def _is_on_loop(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def _handle_waiting(self, event: Event) -> None:
        try:
            self._handle(event)
        finally:
            self._room.release()
