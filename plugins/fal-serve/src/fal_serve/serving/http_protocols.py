"""
The protocol of HTTP connections: how they are read and written, and with which limits.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: The most bytes of the head of a request: its line and all headers.
_LONGEST_HEAD = 1 << 18

#: The first bytes of every response.
_STATUS_LINE = b"HTTP/1.1 "


class JoiningTransport:
    """
    A transport that sends the head of a response together with the data right behind it.

    uvicorn writes head and body one after the other, and a system call takes a tenth of the
    time of a short request. If nothing follows in the same iteration of the event loop, as
    in a stream, the head is sent alone.
    """

    __slots__ = ("_head", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head: bytes | None = None

    def write(self, data: bytes) -> None:
        """
        Send *data*, at the latest at the end of this iteration of the event loop.
        """
        if not data:
            # Python 3.12's event loop would try for ever to write a head with b"".
            self.flush()
        elif self._head is not None:
            head, self._head = self._head, None
            self._transport.writelines((head, data))
        elif data.startswith(_STATUS_LINE):
            self._head = data
            self._loop.call_soon(self.flush)
        else:
            self._transport.write(data)

    def flush(self) -> asyncio.Transport:
        """
        Send a head that is still held back, and return the transport below.
        """
        head, self._head = self._head, None
        # The client may have disconnected meanwhile.
        if head is not None and not self._transport.is_closing():
            self._transport.write(head)
        return self._transport

    def close(self) -> None:
        """
        Send a head that is still held back, and close the connection.
        """
        self.flush().close()

    def is_closing(self) -> bool:
        """
        Tell whether the connection is closed or closing.
        """
        return self._transport.is_closing()


class ServiceProtocol(HttpToolsProtocol):
    """
    An HTTP connection with limits on the size and the time of a request's head.

    Arguments:
        head_timeout: Seconds in which the head of a request has to be complete.
    """

    def __init__(self, *args: Any, head_timeout: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_timeout = head_timeout
        self._head_size = 0
        self._head_timer: asyncio.TimerHandle | None = None

    # Annotated as in uvicorn: asyncio passes a transport for reading and writing.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._joining = JoiningTransport(transport, self.loop)
        self.transport = cast(asyncio.Transport, self._joining)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        cycle = self.cycle
        if cycle is not None and (not cycle.response_complete or cycle.more_body):
            # The common case: the head is complete, and its request is being answered.
            if self._head_timer is not None:
                self._forget_head()
            return
        self._head_size += len(data)
        if self._head_timer is None:
            self._await_head()
        if self._head_size > _LONGEST_HEAD and not self.transport.is_closing():
            self.send_400_response("The head of the request is too long.")

    def handle_websocket_upgrade(self) -> None:
        self.transport = self._joining.flush()
        super().handle_websocket_upgrade()

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(
            self._head_timeout, self.timeout_keep_alive_handler
        )

    def _forget_head(self) -> None:
        self._head_size = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
