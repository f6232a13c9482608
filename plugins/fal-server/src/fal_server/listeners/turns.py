"""
Turns: clients without a key are read a little at a time, one after the other.

Many of them may send at once what takes seconds to read. A client that comes meanwhile, with
a key or about to show one, waits for one round at most.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from fal_server.listeners.open_connections import OpenConnection

#: How many bytes are read in one turn: about those of a call that shows a key.
_TURN = 256


class Line:
    """
    The connections that wait for a turn. Between two turns the event loop does all else.

    Arguments:
        has_room: Tells whether more may be read now.
    """

    def __init__(self, has_room: Callable[[], bool]) -> None:
        self._has_room = has_room
        self._waiting: deque[Reading] = deque()
        self._is_called = False

    def join(self, reading: Reading) -> None:
        """Give a connection a turn after those that wait."""
        self._waiting.append(reading)
        self.go_on()

    def go_on(self) -> None:
        """Give the next connection its turn, if there is room."""
        if self._waiting and not self._is_called and self._has_room():
            self._is_called = True
            asyncio.get_running_loop().call_soon(self._call)

    def _call(self) -> None:
        self._is_called = False
        reading = self._waiting.popleft()
        try:
            reading.go_on()
        finally:
            if reading.waits:
                self._waiting.append(reading)
            self.go_on()


class Reading:
    """
    What of a connection is read, and when.

    Arguments:
        visit: The connection. Once its client has shown a key, all that comes is read at once.

        read: Reads a part of what has come.

    Attributes:
        transport: It receives no more while something waits to be read, or is held.
    """

    __slots__ = ("_is_held", "_line", "_read", "_unread", "_visit", "transport")

    def __init__(
        self, line: Line, visit: OpenConnection, read: Callable[[bytes], object]
    ) -> None:
        self.transport: asyncio.Transport | None = None
        self._line = line
        self._visit = visit
        self._read = read
        self._unread = bytearray()
        self._is_held = False

    @property
    def waits(self) -> bool:
        """Whether there is something to read."""
        return bool(self._unread)

    def take(self, data: bytes) -> None:
        """Read what was received, or wait for a turn."""
        if self._visit.is_known and not self._unread:
            self._read(data)
            return
        waited = self.waits
        self._unread += data
        if not waited:
            self._choose()
            self._line.join(self)

    def go_on(self) -> None:
        """Read the next part."""
        size = len(self._unread) if self._visit.is_known else _TURN
        data = bytes(self._unread[:size])
        del self._unread[:size]
        try:
            self._read(data)
        except BaseException:
            self.end()
            self._visit.abort()
            raise
        if not self._unread:
            self._choose()

    def hold(self, *, is_held: bool) -> None:
        """Receive no more, as the client reads nothing, or go on."""
        self._is_held = is_held
        self._choose()

    def end(self) -> None:
        """Read no more."""
        self._unread.clear()
        self.transport = None

    def _choose(self) -> None:
        if self.transport is None:
            return
        if self._unread or self._is_held:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()
