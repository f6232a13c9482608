"""
Messages of websockets that arrive: how far each has come, and the memory that they take.

The library that reads them says nothing of a message before it is complete.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from aiohttp import WSCloseCode

from fal_server.errors import Refusal

#: What a message takes besides its bytes.
_EACH = 128

#: Frames with these codes are not part of a message, as those of pings.
_CONTROL = 0x8

#: Ends a websocket: its arguments are the code and the reason.
End = Callable[[int, str], None]


class Memory(Protocol):
    """Memory that messages take."""

    def grow(self, size: int) -> None:
        """
        Take *size* more bytes.

        Raises:
            Refusal: There is no room for them.
        """

    def shrink(self, size: int) -> None:
        """Take *size* bytes less."""


class IncomingMessages:
    """
    The messages of one websocket that arrive.

    Arguments:
        end: Ends the websocket.

        began: Called when a message has begun that is not complete yet.

        memory: The memory that they take, from their first byte until :meth:`has_dealt`. None
            where that is not counted.

    Attributes:
        total_bytes: The bytes that have come.
    """

    __slots__ = (
        "_began",
        "_end",
        "_has_begun",
        "_head",
        "_is_counted",
        "_is_fragment",
        "_left",
        "_memory",
        "total_bytes",
    )

    def __init__(
        self, end: End, began: Callable[[], None], memory: Memory | None = None
    ) -> None:
        self.total_bytes = 0
        self._end = end
        self._began = began
        self._memory = memory
        #: What has come of the head of a frame.
        self._head = b""
        #: How many bytes of the present frame are to come.
        self._left = 0
        #: Whether the present frame is part of a message.
        self._is_counted = False
        #: Whether a frame has come of a message, and the last one has not.
        self._is_fragment = False
        self._has_begun = False

    def is_eof(self) -> bool:
        """Return whether no message has begun that is not complete."""
        return not (self._left or self._head or self._is_fragment)

    def set_exception(self, error: Exception) -> None:
        """End the websocket, as a message stalls."""
        self._end(WSCloseCode.POLICY_VIOLATION, "A message stalled. Send it again.")

    def has_dealt(self, message: bytes | str) -> None:
        """Note that a message needs no memory any more."""
        if self._memory is not None:
            size = len(message) if isinstance(message, bytes) else len(message.encode())
            self._memory.shrink(size + _EACH)

    def feed(self, data: bytes) -> bool:
        """
        Note that *data* has come, and return whether there is room for it. Otherwise the
        websocket has been ended.
        """
        self.total_bytes += len(data)
        size = self._count(data)
        if size and self._memory is not None:
            try:
                self._memory.grow(size)
            except Refusal as refusal:
                self._end(WSCloseCode.TRY_AGAIN_LATER, str(refusal))
                return False
        if self.is_eof():
            self._has_begun = False
        elif not self._has_begun:
            self._has_begun = True
            self._began()
        return True

    def _count(self, data: bytes) -> int:
        """Return the memory that messages take of *data*."""
        size, at, end = 0, 0, len(data)
        while at < end:
            if not self._left:
                missing = _head_size(self._head) - len(self._head)
                self._head += data[at : at + missing]
                at += missing
                if len(self._head) < _head_size(self._head):
                    continue
                size += self._begin_frame()
            step = min(self._left, end - at)
            self._left -= step
            at += step
            if self._is_counted:
                size += step
        return size

    def _begin_frame(self) -> int:
        """Note that the head of a frame has come, and return the memory that it takes."""
        head, self._head = self._head, b""
        self._left = _read_length(head)
        self._is_counted = not head[0] & _CONTROL
        if not self._is_counted:
            return 0
        self._is_fragment = not head[0] & 0x80
        return 0 if self._is_fragment else _EACH


class MeteredParser:
    """A parser of websockets whose input is counted."""

    def __init__(self, parser: Any, messages: IncomingMessages) -> None:
        self._parser = parser
        self._messages = messages

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Parse *data*. Return whether it is the last that is parsed, and what is left of it."""
        if not self._messages.feed(data):
            return True, b""
        parsed: tuple[bool, bytes] = self._parser.feed_data(data)
        return parsed

    def feed_eof(self) -> None:
        """Note that there is no more."""
        self._parser.feed_eof()


def _head_size(head: bytes) -> int:
    """Return how long the head of a frame is, as far as its first bytes tell."""
    if len(head) < 2:
        return 2
    length = head[1] & 0x7F
    return 2 + (0, 2, 8)[max(0, length - 125)] + (4 if head[1] & 0x80 else 0)


def _read_length(head: bytes) -> int:
    length = head[1] & 0x7F
    if length < 126:
        return length
    return int.from_bytes(head[2:4] if length == 126 else head[2:10], "big")
