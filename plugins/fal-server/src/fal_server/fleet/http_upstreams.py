"""
Upstreams: HTTP/1.1 connections with runners.

A request is sent in one write, and a response is passed on as it arrives.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from multidict import CIMultiDict

#: The largest status line and headers of a response, in bytes.
LONGEST_HEAD = 1 << 16

#: The bytes of a body that are buffered before reading is paused.
_HIGH_WATER = 1 << 18

#: Statuses of responses that have no body, regardless of their headers.
_BODILESS = frozenset({204, 304})


class BrokenUpstream(ConnectionError):
    """There is no valid response, or an incomplete one. The argument says why."""


class RefusedUpstream(BrokenUpstream):
    """A connection was refused, as where a runner has just ended. Nothing was sent."""


class UnreachedUpstream(BrokenUpstream):
    """A runner has accepted no connection in time. It may be alive or not."""


class TooLarge(Exception):
    """
    A runner has sent more than is read, or begun to. The arguments are the bytes that have
    come or were announced, and the most that are read.
    """

    def __init__(self, size: int, most: int) -> None:
        super().__init__(f"it is {size} bytes long or longer, of at most {most}")


class Upstream(asyncio.Protocol):
    """
    A connection with a runner, for one request after the other.

    Arguments:
        lost: Called after the connection was lost.

    Attributes:
        status: The status of the response.

        headers: The headers of the response.

        size: The size of its body in bytes. None where it is not known in advance.

        has_received: Whether any byte has arrived since the last request.

        idle_since: When the last response was complete, in seconds of the monotonic clock.

        informed: Called with the status of each interim response, as 102.
    """

    def __init__(self, lost: Callable[[Upstream], None]) -> None:
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._parser = HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._is_open = False
        self._is_full = False
        self._writes = True
        self.idle_since = 0.0
        self._reset(is_bodiless=False)
        self._is_complete = True
        self.informed: Callable[[int], None] = lambda _: None

    def _reset(self, *, is_bodiless: bool) -> None:
        self.status = 0
        self.headers: CIMultiDict[str] = CIMultiDict()
        self.size: int | None = None
        self.has_received = False
        self._error: Exception | None = None
        self._is_bodiless = is_bodiless
        self._has_head = False
        self._head_size = 0
        self._ends_with_connection = False
        self._is_complete = False
        self._keeps_alive = False
        self._parts: list[bytes] = []
        self._kept = 0

    # -- requests --------------------------------------------------------------------

    @property
    def is_usable(self) -> bool:
        """Whether it can send a request."""
        return self._is_open and self._is_complete and not self._transport.is_closing()

    @property
    def is_reusable(self) -> bool:
        """
        Whether it can send another request after a response.

        If the response came before the whole request was sent, the rest is still in the
        buffer, and the runner may never read it.
        """
        is_sent = not self._transport.get_write_buffer_size()
        return self._keeps_alive and self.is_usable and is_sent

    def begin(self, message: Iterable[bytes], *, is_bodiless: bool) -> None:
        """
        Send a request, or its head, in one write.

        Arguments:
            is_bodiless: Whether the response has no body, regardless of its headers.
        """
        self._reset(is_bodiless=is_bodiless)
        self._transport.writelines(message)

    async def write(self, part: bytes) -> None:
        """
        Send a part of a body, and wait while the runner does not read.

        Raises:
            BrokenUpstream: The connection is lost.
        """
        self._transport.write(part)
        if not self._writes:
            self._drained = self._loop.create_future()
            try:
                await self._drained
            finally:
                self._drained = None
        if not self._is_open:
            raise BrokenUpstream("The connection was lost.")

    async def wait_for_head(self) -> None:
        """
        Wait for the status and the headers of the response.

        Raises:
            BrokenUpstream: There is no response.
        """
        while not self._has_head:
            await self._wait()

    async def read_part(self) -> bytes:
        """
        Return the next part of the body. Empty at its end.

        Raises:
            BrokenUpstream: The body is incomplete.
        """
        while not self._parts:
            if self._is_complete:
                return b""
            await self._wait()
        part = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts, self._kept = [], 0
        if self._is_full:
            self._is_full = False
            if self._is_open and not self._transport.is_closing():
                self._transport.resume_reading()
        return part

    async def read(self, most: int | None = None) -> bytes:
        """
        Return the rest of the body.

        Arguments:
            most: The largest body that is read, in bytes. None for any.

        Raises:
            TooLarge: The body is larger.

            BrokenUpstream: The body is incomplete.
        """
        parts = []
        left = most
        if most is not None and self.size is not None and self.size > most:
            raise TooLarge(self.size, most)
        while part := await self.read_part():
            parts.append(part)
            if left is not None and most is not None:
                left -= len(part)
                if left < 0:
                    raise TooLarge(most - left, most)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def abort(self, error: Exception | None = None) -> None:
        """Close the connection, and raise *error* in the task that waits for the response."""
        if not self._is_complete:
            self._error = self._error or error or BrokenUpstream("It was ended.")
        self._keeps_alive = False
        self._transport.abort()
        self._wake()

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- callbacks of the event loop -------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note that it is open."""
        # The transports of uvloop do not inherit from asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._is_open = True

    def data_received(self, data: bytes) -> None:
        """Parse bytes that have arrived."""
        if self._is_complete:
            # There was no request, so that this response is nobody's.
            self.abort()
            return
        self.has_received = True
        self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self.abort(BrokenUpstream("The response is not valid HTTP."))
            return
        if self._head_size > LONGEST_HEAD and not self._is_complete:
            self.abort(BrokenUpstream("The headers of the response are too long."))
        elif self._kept > _HIGH_WATER and not self._is_full and not self._is_complete:
            self._is_full = True
            self._transport.pause_reading()

    def connection_lost(self, error: Exception | None) -> None:
        """Note that it is no longer open."""
        self._is_open = False
        if self._ends_with_connection and error is None and self._error is None:
            self._is_complete = True
        elif not self._is_complete and self._error is None:
            self._error = BrokenUpstream("The connection was lost.")
        self._writes = True
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._wake()
        self._lost(self)

    def pause_writing(self) -> None:
        """Make writers wait."""
        self._writes = False

    def resume_writing(self) -> None:
        """Let writers continue."""
        self._writes = True
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # -- callbacks of the parser -----------------------------------------------------

    def on_message_begin(self) -> None:
        """Note the beginning of a response; there may be only one."""
        if self._is_complete:
            raise BrokenUpstream("There was more than one response.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header. Trailers are ignored."""
        if not self._has_head:
            self.headers.add(name.decode("latin-1"), _decode(value))

    def on_headers_complete(self) -> None:
        """Wake the task that waits for the headers."""
        status = self._parser.get_status_code()
        if status < 200:
            if status == 101:
                raise BrokenUpstream("It switched to another protocol.")
            self.informed(status)
            return
        self.status = status
        length = self.headers.get("Content-Length")
        if self._is_bodiless or status in _BODILESS:
            self.size = 0
        elif length is not None:
            self.size = int(length)
        else:
            self._ends_with_connection = "Transfer-Encoding" not in self.headers
        self._has_head = True
        if self._is_bodiless:
            self._finish()
            # The parser would wait for the body that the headers announce.
            self._parser = HttpResponseParser(self)
        self._wake()

    def on_body(self, part: bytes) -> None:
        """Add a part of the body."""
        if self._is_complete:
            raise BrokenUpstream("The body is longer than announced.")
        # The limit holds for each of head, chunk headers and trailers.
        self._head_size = 0
        self._parts.append(part)
        self._kept += len(part)
        self._wake()

    def on_message_complete(self) -> None:
        """Note the end of a response."""
        if not self._has_head:
            # An interim response, as "103 Early Hints", is not passed on.
            self.headers.clear()
            self._head_size = 0
        elif not self._is_complete:
            self._finish()
            self._wake()

    def _finish(self) -> None:
        self._keeps_alive = self._parser.should_keep_alive()
        self._is_complete = True
        self.idle_since = time.monotonic()


def _decode(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
