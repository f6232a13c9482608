"""Stalls: clients that neither send nor read, and how long they are waited for."""

from __future__ import annotations

import asyncio
from typing import Protocol

from aiohttp.web_request import BaseRequest

from fal_server.errors import Invalid
from fal_server.limits import Limits
from fal_server.listeners.open_connections import OpenConnection

#: The bytes of a body that have to be sent, or read, while a client may stall at most.
LEAST = 16 << 10

#: Turns of an event loop in which it reads what lies in its sockets, and begins to handle it.
_TURNS = 8

_NEVER = float("inf")

_LATE = b'{"detail": "The head of the request has not come in time."}'
_ANSWER_TO_LATE = (
    b"HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(_LATE), _LATE)
)


async def within(seconds: float, ready: asyncio.Future[None]) -> None:
    """
    Wait so long until *ready* is done, and until what had come by then was read.

    Raises:
        TimeoutError: It is not.
    """
    await asyncio.wait({ready}, timeout=seconds)
    for _ in range(_TURNS):
        if ready.done():
            break
        await asyncio.sleep(0)
    if not ready.done():
        raise asyncio.TimeoutError
    ready.result()


class TooSlow(Invalid):
    """The body of a request does not arrive in time."""

    http = 408

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"The body stalled: less than {LEAST} bytes of it have come in {seconds:g} s. "
            "Send the request again."
        )


class Incoming(Protocol):
    """What arrives: the body of a request, or the messages of a websocket."""

    total_bytes: int

    def is_eof(self) -> bool:
        """Return whether nothing is to come of what has begun."""

    def set_exception(self, exc: TooSlow) -> None:
        """Tell its reader that it has stalled."""


class HttpEnd(Protocol):
    """What ends an HTTP connection."""

    def force_close(self) -> None:
        """Close it once what was written has been sent."""


class StallWatch:
    """
    How long the client of one HTTP connection is waited for: for the head of a request, for
    each part of a body, until it reads a response, and until it has another request.

    It has one timer, which is set only while one of these is waited for, and is not set anew
    for each request. Where the server itself has stood still, a timer may be due before what
    has come meanwhile was read: nothing is ended before the loop has read it.
    """

    __slots__ = (
        "_due",
        "_end",
        "_has_begun",
        "_incoming",
        "_is_blocked",
        "_longest_head",
        "_longest_idle",
        "_longest_stall",
        "_loop",
        "_mark",
        "_now",
        "_request",
        "_timer",
        "_transport",
        "_visit",
        "_was_paused",
        "_when",
    )

    def __init__(
        self,
        end: HttpEnd,
        visit: OpenConnection,
        limits: Limits,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._end = end
        self._visit = visit
        self._longest_head = limits.longest_head
        self._longest_stall = limits.longest_stall
        self._longest_idle = limits.longest_idle
        self._loop = loop
        self._now = loop.time
        self._transport: asyncio.Transport
        self._timer: asyncio.Handle | None = None
        #: When it is due.
        self._when = _NEVER
        #: When the present wait becomes too long.
        self._due = _NEVER
        #: Whether bytes have come of a request that is not handled yet.
        self._has_begun = False
        #: The request that is handled.
        self._request: BaseRequest | None = None
        #: What arrives of it.
        self._incoming: Incoming
        #: Whether the client does not read what was sent.
        self._is_blocked = False
        #: How much of the body had been received, or of the response was left to send, when
        #: the present wait began.
        self._mark = 0
        #: Whether this end did not want to read meanwhile.
        self._was_paused = False

    def start(self, transport: asyncio.Transport) -> None:
        """Begin to wait for a request."""
        self._transport = transport
        self._allow(self._longest_head)

    def stop(self) -> None:
        """Wait no more, as the connection was lost."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._when, self._due = None, _NEVER, _NEVER

    def hear(self) -> None:
        """Note that bytes have come."""
        if self._request is None and not self._has_begun:
            self._has_begun = True
            self._due = due = self._now() + self._longest_head
            if due < self._when:
                self._set_timer()

    def begin(self, request: BaseRequest) -> None:
        """Note that *request* is handled, whose body may not have come yet."""
        self._request, self._incoming = request, request.content
        self._await_incoming()

    def receive(self, messages: Incoming) -> None:
        """Note that a message of a websocket has begun, which is not complete yet."""
        self._incoming = messages
        if not self._is_blocked:
            self._await_incoming()

    def end(self) -> None:
        """Note that the request was answered."""
        self._request, self._has_begun = None, False
        self._due = due = self._now() + self._longest_idle
        if due < self._when:
            self._set_timer()

    def pause(self) -> None:
        """Note that this end does not want to read for a while."""
        self._was_paused = True

    def block(self) -> None:
        """Note that the client does not read what was sent."""
        self._is_blocked = True
        self._mark = self._transport.get_write_buffer_size()
        self._allow(self._longest_stall)

    def unblock(self) -> None:
        """Note that the client has read most of what was sent."""
        self._is_blocked = False
        if self._request is not None:
            self._await_incoming()
        else:
            self._allow(self._longest_idle)

    def _await_incoming(self) -> None:
        incoming = self._incoming
        if incoming.is_eof():
            self._due = _NEVER
        else:
            self._mark, self._was_paused = incoming.total_bytes, False
            self._allow(self._longest_stall)

    def _allow(self, seconds: float) -> None:
        """Allow so many seconds from now on."""
        self._due = self._now() + seconds
        if self._due < self._when:
            self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._when = self._due
        self._timer = self._loop.call_at(self._due, self._look)

    def _look(self, turns: int = _TURNS) -> None:
        """
        Look at what is waited for, and end what has taken too long.

        Arguments:
            turns: In how many turns of the loop that is done: what came while this server
                stood still is read first.
        """
        self._timer, self._when = None, _NEVER
        if self._due == _NEVER:
            return
        if self._due > self._now():
            # The timer was set for an earlier wait.
            self._set_timer()
        elif turns:
            self._timer = self._loop.call_soon(self._look, turns - 1)
        elif self._is_blocked:
            self._look_at_response()
        elif self._request is not None:
            self._look_at_incoming()
        elif self._has_begun:
            self._transport.write(_ANSWER_TO_LATE)
            self._end.force_close()
        elif self._transport.is_closing():
            # It does not read the last of what was sent.
            self._transport.abort()
        elif not self._visit.is_known:
            self._end.force_close()

    def _look_at_response(self) -> None:
        left = self._transport.get_write_buffer_size()
        if left > self._mark - LEAST:
            self._transport.abort()
        else:
            self._mark = left
            self._allow(self._longest_stall)

    def _look_at_incoming(self) -> None:
        incoming = self._incoming
        is_late = incoming.total_bytes < self._mark + LEAST and not incoming.is_eof()
        if is_late and self._transport.is_reading() and not self._was_paused:
            # Its reader gets the exception.
            incoming.set_exception(TooSlow(self._longest_stall))
        else:
            self._await_incoming()
