"""
One port for gRPC, TLS and HTTP.

The first bytes of a connection tell its protocol. They are peeked at, so that its protocol
reads all of them. Released clients send gRPC and HTTP to one port, whose name they are told
for gRPC.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import ssl
from collections.abc import Callable
from typing import cast

import attrs

from fal_core_worker.serving.ports import free_port, holder
from fal_server.limits import Limits
from fal_server.listeners.grpc_connections import GrpcServer
from fal_server.listeners.open_connections import (
    OpenConnection,
    OpenConnections,
    read_address,
)
from fal_server.listeners.stalls import within

logger = logging.getLogger(__name__)

ProtocolFactory = Callable[[OpenConnection], asyncio.BaseProtocol]

#: The first bytes of an HTTP/2 connection, and the first byte of a TLS handshake.
_HTTP2 = b"PRI"
_TLS = b"\x16"

#: The most connections that wait to be accepted.
_BACKLOG = 1024

#: How many free ports are tried, as another process may take one first.
_TRIES = 10

#: The most bytes that wait in the system to be sent: more wait here, where it is seen
#: whether a client reads them.
_UNSENT = 128 << 10

#: Errors of connections that have ended before they were accepted.
_GONE = frozenset({errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.EAGAIN})

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

        grpc: Answers gRPC connections. None where there is no gRPC.

        tls: The TLS context. None where there is no TLS.

        connections: The connections of all listeners of a server.

        limits: How long a client is waited for.
    """

    name: str
    http: ProtocolFactory
    grpc: GrpcServer | None = None
    tls: ssl.SSLContext | None = None
    limits: Limits = attrs.field(factory=Limits)
    connections: OpenConnections = attrs.field(
        default=attrs.Factory(
            lambda listener: OpenConnections(listener.limits), takes_self=True
        )
    )
    _socket: socket.socket | None = attrs.field(default=None, init=False)
    _accepting: asyncio.Task[None] | None = attrs.field(default=None, init=False)
    _greeting: set[_Greeting] = attrs.field(factory=set, init=False)

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
        """Accept the connections that wait, and those that come."""
        assert self._socket is not None, "The listener has to listen first."
        self._accepting = asyncio.create_task(self._accept(self._socket))

    def describe(self, error: OSError, host: str, port: int) -> str:
        """Return the error message of :meth:`listen` for *error*."""
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
            remedy = "Give an address of this machine by '--address'."
        return f"The server cannot listen at {where} for {behind}: {reason}. {remedy}"

    async def close(self) -> None:
        """
        Accept no more connections. Open ones are left to their servers; over those of gRPC no
        more calls begin.
        """
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
        tasks = [greeting.task for greeting in self._greeting if greeting.task is not None]
        for greeting in self._greeting:
            greeting.abort()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._socket is not None:
            self._socket.close()
        if self.grpc is not None:
            self.grpc.go_away()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(listener)
            except OSError as error:
                if error.errno not in _GONE:
                    # There are too many open files.
                    await self.connections.wait_for_room(error)
                continue
            self._admit(connection, address[0])

    def _admit(self, connection: socket.socket, peer: str) -> None:
        """Count a connection, and begin to find out its protocol."""
        visit = self.connections.add(peer)
        if visit is None:
            connection.close()
            return
        greeting = _Greeting(self, connection, visit, peer)
        visit.abort = greeting.abort
        task = greeting.task = asyncio.get_running_loop().create_task(greeting.run())
        self._greeting.add(greeting)
        task.add_done_callback(greeting.end)

    def forget(self, greeting: _Greeting) -> None:
        """Note that a greeting is over."""
        self._greeting.discard(greeting)

    def make_protocol(
        self, visit: OpenConnection, *, speaks_grpc: bool
    ) -> asyncio.BaseProtocol:
        """Make the protocol of a connection."""
        if speaks_grpc and self.grpc is not None:
            return self.grpc.connect(visit)
        return self.http(visit)


@attrs.define(eq=False)
class _Greeting:
    """
    What happens to a connection until its protocol is known.

    Attributes:
        is_given: Whether somebody else closes the socket.

        is_served: Whether there is a protocol, which is told when the connection has ended.

        is_certain: Whether it has a protocol in a moment. If that were cancelled, the protocol
            might never be told the end.

        is_unwanted: Whether the connection is to be closed then.
    """

    listener: Listener
    connection: socket.socket
    visit: OpenConnection
    peer: str
    is_given: bool = False
    is_served: bool = False
    is_certain: bool = False
    is_unwanted: bool = False
    task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Find out the protocol, and hand the connection over."""
        connection, listener = self.connection, self.listener
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # A client whose machine is gone is noticed, with a key as without one.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if hasattr(socket, "TCP_NOTSENT_LOWAT"):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
            first = await _peek(connection, listener.limits.longest_head)
            secret = listener.tls is not None and first.startswith(_TLS)
            if first and (secret or _is_here(self.peer)):
                self.is_given = True
                await self._hand_over(first, secret=secret)
                self.is_served = True
        except (OSError, asyncio.TimeoutError) as error:
            logger.debug("Listener %s dropped a connection: %r", listener.name, error)

    async def _hand_over(self, first: bytes, *, secret: bool) -> None:
        loop = asyncio.get_running_loop()
        if secret:
            await loop.connect_accepted_socket(
                lambda: ProtocolChooser(self.listener, self.visit),
                self.connection,
                ssl=self.listener.tls,
                ssl_handshake_timeout=self.listener.limits.longest_head,
            )
            return
        speaks_grpc = first.startswith(_HTTP2)
        self.is_certain = True
        transport, _ = await loop.connect_accepted_socket(
            lambda: self.listener.make_protocol(self.visit, speaks_grpc=speaks_grpc),
            self.connection,
        )
        if self.is_unwanted:
            transport.abort()

    def abort(self) -> None:
        """Close the connection as soon as that can be done."""
        if self.is_certain:
            self.is_unwanted = True
        elif self.task is not None:
            self.task.cancel()

    def end(self, _: asyncio.Task[None]) -> None:
        """Close the connection, unless it was handed over. It may not even have begun."""
        self.listener.forget(self)
        if not self.is_given:
            self.connection.close()
        if not self.is_served:
            self.visit.has_ended()


class ProtocolChooser(asyncio.Protocol):
    """Hands a TLS connection over once its handshake has negotiated a protocol."""

    def __init__(self, listener: Listener, visit: OpenConnection) -> None:
        self._listener = listener
        self._visit = visit

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        chosen = transport.get_extra_info("ssl_object").selected_alpn_protocol()
        protocol = self._listener.make_protocol(self._visit, speaks_grpc=chosen == "h2")
        # The transports of uvloop do not inherit from asyncio's.
        cast(asyncio.Transport, transport).set_protocol(protocol)
        protocol.connection_made(transport)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)


def _listen_anywhere(host: str) -> socket.socket:
    """Listen at a free port, and try another if a process takes it first."""
    for _ in range(_TRIES - 1):
        try:
            return _listen(host, free_port())
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    return _listen(host, free_port())


async def _peek(connection: socket.socket, seconds: float) -> bytes:
    """
    Return the first bytes of *connection* without taking them from it.

    They suffice to tell the protocol. Fewer where the connection has ended.

    Raises:
        TimeoutError: They do not come in so many seconds.
    """
    # Readable once it has all of them, or has ended: nothing looks again and again.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, len(_HTTP2))
    await _readable(connection, seconds)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
    return connection.recv(len(_HTTP2), socket.MSG_PEEK)


async def _readable(connection: socket.socket, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(connection, tell)
    try:
        await within(seconds, ready)
    finally:
        loop.remove_reader(connection)


def _is_here(peer: str) -> bool:
    """Return whether *peer* is this machine. Unencrypted connections must come from it."""
    address = read_address(peer)
    return address is not None and address.is_loopback
