"""
One port for gRPC, TLS and HTTP.

The first bytes of a connection tell its protocol. They are peeked at, so that whoever
handles the connection reads all of it. gRPC is forwarded byte by byte to the gRPC
server, which listens on a private unix socket.
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

#: The first bytes of an HTTP/2 connection, and the first byte of a TLS handshake.
_HTTP2 = b"PRI"
_TLS = b"\x16"

#: Seconds for the first bytes of a connection, and again for its TLS handshake.
_PATIENCE = 20.0

#: The most connections that wait to be accepted.
_BACKLOG = 1024

#: How many free ports are tried, as another process may take one first.
_TRIES = 10

#: What each listener of a server is for, by its name, for error messages.
_BEHIND = {
    "api": "the API",
    "run": "the run gateway",
    "queue": "the queue gateway",
    "ws": "the websocket gateway",
    "metrics": "the metrics",
}


@attrs.define(eq=False)
class Listener:
    """
    A listening socket that hands each connection to the right protocol.

    Attributes:
        name: Its name in log messages.

        http: Makes the protocol of an HTTP/1.1 connection.

        grpc: The unix socket of the gRPC server. None where there is no gRPC.

        tls: The TLS context. None where there is no TLS.
    """

    name: str
    http: ProtocolFactory
    grpc: str | None = None
    tls: ssl.SSLContext | None = None
    _socket: socket.socket | None = attrs.field(default=None, init=False)
    _accepting: asyncio.Task[None] | None = attrs.field(default=None, init=False)
    _greeting: set[asyncio.Task[None]] = attrs.field(factory=set, init=False)
    _tunnels: set[GrpcTunnel] = attrs.field(factory=set, init=False)

    def listen(self, host: str, port: int) -> int:
        """
        Listen, and return the port: *port*, or a free one if that is 0.

        Connections wait until :meth:`open`. The free port is none that the system gives to
        outgoing connections: a server that is started again must find it free.

        Raises:
            OSError: The port is taken, or *host* is not an address of this machine.
        """
        listener = _listen(host, port) if port else _listen_anywhere(host)
        listener.setblocking(False)
        self._socket = listener
        taken: int = listener.getsockname()[1]
        return taken

    def open(self) -> None:
        """
        Accept the connections that wait, and those that come.
        """
        assert self._socket is not None, "The listener has to listen first."
        self._accepting = asyncio.create_task(self._accept(self._socket))

    def describe(self, error: OSError, host: str, port: int) -> str:
        """
        Return the error message of :meth:`listen` for *error*.
        """
        where = f"[{host}]" if ":" in host else host
        where = f"{where}:{port}" if port else where
        behind = _BEHIND.get(self.name, f"its listener {self.name!r}")
        if error.errno == errno.EADDRINUSE:
            reason = f"it is taken by {holder(port)}"
            remedy = "End that, or choose other ports by '--port'."
        elif error.errno == errno.EACCES:
            reason = os.strerror(error.errno)
            remedy = "Choose ports that this user may have by '--port'."
        else:
            # Messages of Python repeat the address, except for host names that do not resolve.
            known = error.errno is not None and error.errno in errno.errorcode
            reason = os.strerror(error.errno or 0) if known else str(error.strerror)
            remedy = "Give an address of this machine by '--host'."
        return f"The server cannot listen at {where} for {behind}: {reason}. {remedy}"

    async def close(self) -> None:
        """
        Accept no more connections. Open HTTP connections are left to their server.
        """
        tasks = [*self._greeting, *([self._accepting] if self._accepting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._socket is not None:
            self._socket.close()
        for tunnel in list(self._tunnels):
            tunnel.abort()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(listener)
            except OSError as error:
                # There are too many open files, and some will be closed.
                logger.warning("Listener %s cannot accept: %s", self.name, error)
                await asyncio.sleep(0.1)
                continue
            task = loop.create_task(self._greet(connection, address[0]))
            self._greeting.add(task)
            task.add_done_callback(self._greeting.discard)

    async def _greet(self, connection: socket.socket, peer: str) -> None:
        """
        Find out the protocol of *connection*, and hand it over.
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
            logger.debug("Listener %s dropped a connection: %r", self.name, error)
        finally:
            if not handed_over:
                connection.close()

    async def _hand_over(
        self, connection: socket.socket, first: bytes, *, secret: bool
    ) -> None:
        loop = asyncio.get_running_loop()
        if secret:
            await loop.connect_accepted_socket(
                lambda: ProtocolChooser(self),
                connection,
                ssl=self.tls,
                ssl_handshake_timeout=_PATIENCE,
            )
        else:
            speaks_grpc = self.grpc is not None and first.startswith(_HTTP2)
            factory = self.make_tunnel if speaks_grpc else self.http
            await loop.connect_accepted_socket(factory, connection)

    def make_tunnel(self) -> GrpcTunnel:
        """
        Make the protocol of a gRPC connection.
        """
        assert self.grpc is not None
        tunnel = GrpcTunnel(self.grpc, self._tunnels.discard)
        self._tunnels.add(tunnel)
        return tunnel


class ProtocolChooser(asyncio.Protocol):
    """
    Hands a TLS connection over once its handshake has negotiated a protocol.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        chosen = transport.get_extra_info("ssl_object").selected_alpn_protocol()
        speaks_grpc = chosen == "h2" and self._listener.grpc is not None
        protocol = self._listener.make_tunnel() if speaks_grpc else self._listener.http()
        # The transports of uvloop do not inherit from asyncio's.
        cast(asyncio.Transport, transport).set_protocol(protocol)
        protocol.connection_made(transport)


class GrpcTunnel(asyncio.Protocol):
    """
    A connection whose bytes are forwarded to the gRPC server, and back.
    """

    def __init__(self, path: str, ended: Callable[[GrpcTunnel], Any]) -> None:
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
            other, _ = await loop.create_unix_connection(lambda: TunnelEnd(here), self._path)
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


class TunnelEnd(asyncio.Protocol):
    """
    The end of a tunnel at the gRPC server.
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
    Listen at a free port, and try another if a process takes it first.
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
    Return the first bytes of *connection* without taking them from it.

    They suffice to tell the protocol. Fewer where the connection has ended.
    """
    # Readable once it has all of them, or has ended: nothing looks again and again.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, len(_HTTP2))
    await _readable(connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
    return connection.recv(len(_HTTP2), socket.MSG_PEEK)


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
    Return whether *peer* is this machine. Unencrypted connections must come from it.
    """
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(peer.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        return (mapped or address).is_loopback
    return False
