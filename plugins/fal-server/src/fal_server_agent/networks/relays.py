"""Relays: connections to a Unix socket are passed on to a port of this process's network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

#: How many bytes wait for a slow reader before the other side is no longer read.
_HIGH_WATER = 1 << 18

#: How many connections may wait to be accepted; those beyond it have to come again.
_BACKLOG = 2048


class Half(asyncio.Protocol):
    """
    One of the two connections of a relay: what arrives is sent to the other.

    Attributes:
        transport: The transport of this connection.

        other: The other connection. None until that is open.

        has_ended: Whether the sender at this end has sent everything.
    """

    def __init__(self, other: Half | None = None) -> None:
        self.transport: asyncio.Transport
        self.other = other
        self.has_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the transport."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(_HIGH_WATER)

    def data_received(self, data: bytes) -> None:
        """Pass *data* on."""
        assert self.other is not None
        self.other.transport.write(data)

    def eof_received(self) -> bool:
        """Pass the end of one direction on, and close both connections at the second."""
        self.has_ended = True
        if self.other is None or self.other.has_ended or self.other.transport.is_closing():
            return False
        self.other.transport.write_eof()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """Close the other connection: at once if this one broke."""
        if self.other is not None:
            transport = self.other.transport
            transport.close() if error is None else transport.abort()

    def pause_writing(self) -> None:
        """Read no more from the other connection while this one cannot be written."""
        if self.other is not None and not self.other.transport.is_closing():
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """Read from the other connection again."""
        if self.other is not None and not self.other.transport.is_closing():
            self.other.transport.resume_reading()


class Front(Half):
    """The connection at the Unix socket, which is read once the other leads to *port*."""

    def __init__(self, port: int, tasks: set[asyncio.Task[None]]) -> None:
        super().__init__()
        self._port = port
        self._tasks = tasks
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connect to the port."""
        super().connection_made(transport)
        self.transport.pause_reading()
        task = asyncio.ensure_future(self._connect())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def data_received(self, data: bytes) -> None:
        """Pass *data* on, or keep it until the other connection is open."""
        if self.other is not None:
            super().data_received(data)
            return
        # Some Pythons start to read after they have been told to pause.
        self._early.append(data)
        self.transport.pause_reading()

    def eof_received(self) -> bool:
        """Pass the end on, now or once the other connection is open."""
        if self.other is not None:
            return super().eof_received()
        self.has_ended = True
        return True

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, back = await loop.create_connection(lambda: Half(self), "127.0.0.1", self._port)
        except OSError:
            # As where nobody listens: the connection ends without a response.
            self.transport.abort()
            return
        self.other = back
        if self.transport.is_closing():
            back.transport.abort()
            return
        for data in self._early:
            back.transport.write(data)
        self._early.clear()
        if self.has_ended:
            back.transport.write_eof()
        else:
            self.transport.resume_reading()


@asynccontextmanager
async def relaying(address: str, port: int) -> AsyncIterator[None]:
    """Listen on the Unix socket *address*, and relay its connections to *port*."""
    tasks: set[asyncio.Task[None]] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(
        lambda: Front(port, tasks), address, backlog=_BACKLOG
    )
    try:
        yield
    finally:
        server.close()
        for task in tasks:
            task.cancel()
