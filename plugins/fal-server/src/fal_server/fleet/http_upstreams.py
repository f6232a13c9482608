"""
Upstreams: connections of HTTP/1.1 on which runners answer.

A gateway sends and reads every request twice, so that its client takes as much of its time
as its server does. This one does no more than a gateway asks for: what it is given is sent
in one write, and what comes is handed on as it was written.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from multidict import CIMultiDict

#: Bytes that the status line and the headers of an answer may take.
LONGEST_HEAD = 1 << 16

#: Bytes of a body that are kept before nothing more is read.
_HIGH_WATER = 1 << 18

#: Answers without a body, whatever their headers say.
_BODILESS = frozenset({204, 304})


class BrokenUpstream(ConnectionError):
    """
    A runner has broken off its answer, or what it has sent is none. The argument says how.
    """


class UnreachedUpstream(BrokenUpstream):
    """
    A runner has taken no connection in time. Whether it lives cannot be told.
    """


class Upstream(asyncio.Protocol):
    """
    A connection with a runner: one request, and its answer, after another.

    Arguments:
        lost: Called once it is of no more use.

    Attributes:
        status: The status of the answer.

        headers: Its headers.

        size: The bytes of its body. None where they are not known before its end.

        has_received: Whether anything was answered to the last request.

        idle_since: When its last answer ended, in seconds of the monotonic clock.
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

    # -- what is asked of it ---------------------------------------------------------

    @property
    def is_usable(self) -> bool:
        """
        Whether it can take a request.
        """
        return self._is_open and self._is_complete and not self._transport.is_closing()

    @property
    def is_reusable(self) -> bool:
        """
        Whether it can take another request now that the last was answered.

        One that was answered before all of it was sent leaves the rest on its way, and who
        has answered may never read that.
        """
        is_sent = not self._transport.get_write_buffer_size()
        return self._keeps_alive and self.is_usable and is_sent

    def begin(self, message: Iterable[bytes], *, is_bodiless: bool) -> None:
        """
        Send a request, or its beginning, in one write.

        Arguments:
            is_bodiless: Whether its answer has no body, whatever the headers of that say.
        """
        self._reset(is_bodiless=is_bodiless)
        self._transport.writelines(message)

    async def write(self, part: bytes) -> None:
        """
        Send more of a request, and wait while a runner does not read.

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
        Wait for the status and the headers of the answer.

        Raises:
            BrokenUpstream: There is no answer.
        """
        while not self._has_head:
            await self._wait()

    async def read_part(self) -> bytes:
        """
        Return what has come of the body; empty at its end.

        Raises:
            BrokenUpstream: It has ended too early.
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

    async def read(self) -> bytes:
        """
        Return the rest of the body.

        Raises:
            BrokenUpstream: It has ended too early.
        """
        parts = []
        while part := await self.read_part():
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def abort(self, error: Exception | None = None) -> None:
        """
        End the connection; who waits for an answer is told *error*.
        """
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

    # -- what the event loop tells ---------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """
        Note that it is open.
        """
        # That of uvloop has the methods, and another base.
        self._transport = cast(asyncio.Transport, transport)
        self._is_open = True

    def data_received(self, data: bytes) -> None:
        """
        Read what has come.
        """
        if self._is_complete:
            # Nobody has asked for anything: whose answer this is cannot be told.
            self.abort()
            return
        self.has_received = True
        self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self.abort(BrokenUpstream("What it has answered is no HTTP."))
            return
        if self._head_size > LONGEST_HEAD and not self._is_complete:
            self.abort(BrokenUpstream("The headers of its answer are too long."))
        elif self._kept > _HIGH_WATER and not self._is_full and not self._is_complete:
            self._is_full = True
            self._transport.pause_reading()

    def connection_lost(self, error: Exception | None) -> None:
        """
        Note that it is no longer open.
        """
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
        """
        Have writers wait.
        """
        self._writes = False

    def resume_writing(self) -> None:
        """
        Have writers go on.
        """
        self._writes = True
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # -- what the parser tells -------------------------------------------------------

    def on_message_begin(self) -> None:
        """
        Take the beginning of an answer, of which there may be one.
        """
        if self._is_complete:
            raise BrokenUpstream("It has answered twice.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """
        Take a header. Those that come behind the body are nobody's.
        """
        if not self._has_head:
            self.headers.add(name.decode("latin-1"), _decode(value))

    def on_headers_complete(self) -> None:
        """
        Let who waits have the headers.
        """
        status = self._parser.get_status_code()
        if status < 200:
            if status == 101:
                raise BrokenUpstream("It speaks another protocol.")
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
            # The parser waits for the body that the headers tell of.
            self._parser = HttpResponseParser(self)
        self._wake()

    def on_body(self, part: bytes) -> None:
        """
        Take a part of the body.
        """
        if self._is_complete:
            raise BrokenUpstream("It has answered with more than it has said.")
        # What comes behind a body, or between two parts, is held to the same size.
        self._head_size = 0
        self._parts.append(part)
        self._kept += len(part)
        self._wake()

    def on_message_complete(self) -> None:
        """
        Let who waits know the end.
        """
        if not self._has_head:
            # What is told before the answer, as in "103 Early Hints", is for its sender.
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
