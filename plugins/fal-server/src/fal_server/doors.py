"""
Doors: one port for gRPC, TLS and HTTP.

The first bytes of a connection tell which it is. They are looked at, not taken: the
protocol that gets the connection sees all of it. gRPC is passed on, byte by byte, to
the gRPC server, which listens on a unix socket that nobody else sees.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any, cast

import attrs

from fal_core_worker.serving.ports import free_port, holder

logger = logging.getLogger(__name__)

ProtocolFactory = Callable[[], asyncio.BaseProtocol]

#: How an HTTP/2 connection begins, and the first byte of a TLS handshake.
_HTTP2 = b"PRI"
_TLS = b"\x16"

#: Seconds that the first bytes of a connection, and its TLS handshake, may take.
_PATIENCE = 20.0

#: Seconds between two looks at a connection that has sent too little to tell.
_INTERVAL = 0.02

#: Connections that wait to be accepted.
_BACKLOG = 1024

#: How many free ports are tried, where somebody else may take one first.
_TRIES = 10

#: What stands behind each door of a server, for who reads that it cannot be opened.
_BEHIND = {
    "api": "the API",
    "run": "the run gateway",
    "queue": "the queue gateway",
    "ws": "the websocket gateway",
    "metrics": "the metrics",
}


@attrs.define(eq=False)
class Door:
    """
    A listener that gives each connection to who understands it.

    Attributes:
        name: What the log calls it.

        http: Makes the protocol of an HTTP/1.1 connection.

        grpc: The unix socket of the gRPC server. None where there is no gRPC.

        tls: The certificate. None where there is no TLS.
    """

    name: str
    http: ProtocolFactory
    grpc: str | None = None
    tls: ssl.SSLContext | None = None
    _socket: socket.socket | None = attrs.field(default=None, init=False)
    _accepting: asyncio.Task[None] | None = attrs.field(default=None, init=False)
    _greeting: set[asyncio.Task[None]] = attrs.field(factory=set, init=False)
    _splices: set[Splice] = attrs.field(factory=set, init=False)

    async def open(self, host: str, port: int) -> int:
        """
        Listen, and return the port: *port*, or a free one where that is 0.

        A server that is started again listens where it did, so the free one is none
        that connections of others are given meanwhile.

        Raises:
            OSError: The port is taken, or *host* is not an address of this machine.
        """
        listener = _listen(host, port) if port else _listen_anywhere(host)
        listener.setblocking(False)
        self._socket = listener
        self._accepting = asyncio.create_task(self._accept(listener))
        taken: int = listener.getsockname()[1]
        return taken

    def describe(self, error: OSError, host: str, port: int) -> str:
        """
        Return why it cannot be opened, as a sentence.
        """
        where = f"[{host}]" if ":" in host else host
        where = f"{where}:{port}" if port else where
        behind = _BEHIND.get(self.name, f"its door {self.name!r}")
        if error.errno == errno.EADDRINUSE:
            reason = f"it is taken by {holder(port, claimed=False)}"
            remedy = "End that, or choose other ports by '--port'."
        elif error.errno == errno.EACCES:
            reason = os.strerror(error.errno)
            remedy = "Choose ports that this user may have by '--port'."
        else:
            # The words of Python repeat the address, but for names that are none.
            known = error.errno is not None and error.errno in errno.errorcode
            reason = os.strerror(error.errno or 0) if known else str(error.strerror)
            remedy = "Give an address of this machine by '--host'."
        return f"The server cannot listen at {where} for {behind}: {reason}. {remedy}"

    async def close(self) -> None:
        """
        Take no more connections. Those of HTTP are left to who has them.
        """
        tasks = [*self._greeting, *([self._accepting] if self._accepting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._socket is not None:
            self._socket.close()
        for splice in list(self._splices):
            splice.abort()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(listener)
            except OSError as error:
                # Too many open files; some will be closed.
                logger.warning("Door %s cannot accept: %s", self.name, error)
                await asyncio.sleep(0.1)
                continue
            task = loop.create_task(self._greet(connection, address[0]))
            self._greeting.add(task)
            task.add_done_callback(self._greeting.discard)

    async def _greet(self, connection: socket.socket, peer: str) -> None:
        """
        Find out what *connection* speaks, and hand it over.
        """
        handed_over = False
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            first = await asyncio.wait_for(_peek(connection), _PATIENCE)
            secret = self.tls is not None and first.startswith(_TLS)
            if first and (secret or _is_here(peer)):
                handed_over = True
                await self._hand_over(connection, first, secret=secret)
        except (OSError, asyncio.TimeoutError) as error:
            logger.debug("Door %s dropped a connection: %r", self.name, error)
        finally:
            if not handed_over:
                connection.close()

    async def _hand_over(
        self, connection: socket.socket, first: bytes, *, secret: bool
    ) -> None:
        loop = asyncio.get_running_loop()
        if secret:
            await loop.connect_accepted_socket(
                lambda: Chooser(self),
                connection,
                ssl=self.tls,
                ssl_handshake_timeout=_PATIENCE,
            )
        else:
            speaks_grpc = self.grpc is not None and first.startswith(_HTTP2)
            factory = self.splice if speaks_grpc else self.http
            await loop.connect_accepted_socket(factory, connection)

    def splice(self) -> Splice:
        """
        Make the protocol of a gRPC connection.
        """
        assert self.grpc is not None
        splice = Splice(self.grpc, self._splices.discard)
        self._splices.add(splice)
        return splice


class Chooser(asyncio.Protocol):
    """
    Hands a TLS connection over once its handshake has told what it speaks.
    """

    def __init__(self, door: Door) -> None:
        self._door = door

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        chosen = transport.get_extra_info("ssl_object").selected_alpn_protocol()
        speaks_grpc = chosen == "h2" and self._door.grpc is not None
        protocol = self._door.splice() if speaks_grpc else self._door.http()
        # The transports of uvloop are none by class.
        cast(asyncio.Transport, transport).set_protocol(protocol)
        protocol.connection_made(transport)


class Splice(asyncio.Protocol):
    """
    One end of two connections whose bytes are passed on to each other.
    """

    def __init__(self, path: str, ended: Callable[[Splice], Any]) -> None:
        self._path = path
        self._ended = ended
        self._transport: asyncio.Transport | None = None
        self._other: asyncio.Transport | None = None
        self._waiting: list[bytes] = []
        self._task: asyncio.Task[None] | None = None
        self._lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.pause_reading()
        self._task = asyncio.create_task(self._connect())

    def data_received(self, data: bytes) -> None:
        if self._other is None:
            self._waiting.append(data)
        elif not self._other.is_closing():
            self._other.write(data)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        self._ended(self)
        if self._other is not None:
            self._other.close()

    def pause_writing(self) -> None:
        if self._other is not None and not self._other.is_closing():
            self._other.pause_reading()

    def resume_writing(self) -> None:
        if self._other is not None and not self._other.is_closing():
            self._other.resume_reading()

    def abort(self) -> None:
        """
        End both connections at once.
        """
        for transport in (self._transport, self._other):
            if transport is not None:
                transport.abort()

    async def _connect(self) -> None:
        here = self._transport
        assert here is not None
        loop = asyncio.get_running_loop()
        try:
            other, _ = await loop.create_unix_connection(lambda: Far(here), self._path)
        except OSError:
            here.abort()
            return
        if self._lost:
            other.abort()
            return
        self._other = other
        for data in self._waiting:
            other.write(data)
        self._waiting.clear()
        if not here.is_closing():
            here.resume_reading()


class Far(asyncio.Protocol):
    """
    The end of a splice that faces the gRPC server.
    """

    def __init__(self, near: asyncio.Transport) -> None:
        self._near = near

    def data_received(self, data: bytes) -> None:
        if not self._near.is_closing():
            self._near.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._near.close()

    def pause_writing(self) -> None:
        if not self._near.is_closing():
            self._near.pause_reading()

    def resume_writing(self) -> None:
        if not self._near.is_closing():
            self._near.resume_reading()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)


def _listen_anywhere(host: str) -> socket.socket:
    """
    Listen at a free port, another one where somebody takes it first.
    """
    for _ in range(_TRIES - 1):
        try:
            return _listen(host, free_port())
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    return _listen(host, free_port())


async def _peek(connection: socket.socket) -> bytes:
    """
    Return the first bytes of *connection*, and leave them there.

    They are enough to tell what it speaks, or nothing where it has ended.
    """
    while True:
        await _readable(connection)
        first = connection.recv(len(_HTTP2), socket.MSG_PEEK)
        if len(first) == len(_HTTP2) or not _HTTP2.startswith(first) or not first:
            return first
        await asyncio.sleep(_INTERVAL)


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(connection, tell)
    try:
        await ready
    finally:
        loop.remove_reader(connection)


def _is_here(peer: str) -> bool:
    """
    Tell whether *peer* is this machine: what is not encrypted goes no further.
    """
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(peer.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        return (mapped or address).is_loopback
    return False
