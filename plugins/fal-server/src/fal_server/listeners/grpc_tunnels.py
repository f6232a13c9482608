"""
Tunnels: gRPC connections, whose bytes are forwarded to the gRPC server.

It listens on a private unix socket. The near end of each tunnel has a name there, by which
the server knows on which connection a call has come. Each call is marked with what it names
the server.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from fal_server.limits import Limits
from fal_server.listeners.authorities import AuthorityMarks
from fal_server.listeners.http_connections import RELAY
from fal_server.listeners.open_connections import OpenConnection
from fal_server.listeners.unix_sockets import connect_unix
from fal_server.listeners.urls import read_host

#: The metadata key by which a replica that passes a call on tells what that names the server.
SERVER_HOST = "fal-core-server-host"

#: How the keys of marks begin.
MARK = "fal-core-authority-"


class TunnelMouth:
    """
    Makes the tunnels to one gRPC server.

    Arguments:
        path: The unix socket of the server. Names of tunnels are made beside it.
    """

    def __init__(self, path: str, limits: Limits) -> None:
        self._path = path
        self._limits = limits
        #: Clients do not know it, and so cannot set it.
        self._mark = MARK + secrets.token_hex(16)
        self._numbers = itertools.count()
        self._tunnels: dict[str, GrpcTunnel] = {}

    def make_tunnel(self, visit: OpenConnection) -> GrpcTunnel:
        """
        Make the protocol of a gRPC connection.
        """
        name = str(Path(self._path).with_name(str(next(self._numbers))))
        tunnel = GrpcTunnel(
            self._path,
            name,
            visit,
            AuthorityMarks(self._mark, visit),
            self._limits.longest_idle,
            lambda: self._tunnels.pop(name),
        )
        self._tunnels[name] = tunnel
        return tunnel

    def recognise(self, peer: str) -> None:
        """
        Note that whoever has made a call has shown a valid key.

        Arguments:
            peer: The peer of the call, as gRPC writes it.
        """
        tunnel = self._tunnels.get(peer.removeprefix("unix:"))
        if tunnel is not None:
            tunnel.visit.recognise()

    def host_of(self, peer: str, metadata: Mapping[str, str]) -> str:
        """
        Return what the caller names the server: a host, perhaps with a port. Empty where that
        is unknown. A replica that passes the call on tells it for its caller.

        Arguments:
            peer, metadata: Those of a call which has come through a tunnel.
        """
        tunnel = self._tunnels.get(peer.removeprefix("unix:"))
        if tunnel is not None and RELAY.lower() in metadata:
            tunnel.visit.check_relay(metadata[RELAY.lower()])
            if tunnel.visit.is_relayed:
                return read_host(metadata.get(SERVER_HOST, ""))
        return metadata.get(self._mark, "")

    def close(self) -> None:
        """
        End all tunnels.
        """
        for tunnel in list(self._tunnels.values()):
            tunnel.abort()


class GrpcTunnel(asyncio.Protocol):
    """
    A connection whose bytes are forwarded to the gRPC server, and back.

    Arguments:
        path: The unix socket of the server.

        name: The name of the near end, a path as well.

        marks: Adds to each call what it names the server.

        idle: Seconds within which the client has to show a key.

        ended: Called when the connection has ended.
    """

    def __init__(
        self,
        path: str,
        name: str,
        visit: OpenConnection,
        marks: AuthorityMarks,
        idle: float,
        ended: Callable[[], Any],
    ) -> None:
        self.visit = visit
        self._path = path
        self._name = name
        self._marks = marks
        self._idle = idle
        self._ended = ended
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._other: asyncio.Transport | None = None
        self._waiting: list[bytes] = []
        self._task: asyncio.Task[None] | None = None
        self._lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.pause_reading()
        self.visit.abort = self.abort
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._idle, self._end_stranger)
        self._task = loop.create_task(self._connect())

    def data_received(self, data: bytes) -> None:
        data = self._marks.take(data)
        if self._other is None:
            self._waiting.append(data)
        elif not self._other.is_closing():
            self._other.write(data)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        if self._timer is not None:
            self._timer.cancel()
        self._ended()
        self.visit.has_ended()
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

    def _end_stranger(self) -> None:
        if not self.visit.is_known:
            self.abort()

    async def _connect(self) -> None:
        here = self._transport
        assert here is not None
        loop = asyncio.get_running_loop()
        near = None
        try:
            near = _name_socket(self._name)
            await connect_unix(near, self._path)
            other, _ = await loop.create_unix_connection(lambda: TunnelEnd(here), sock=near)
        except OSError:
            if near is not None:
                near.close()
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


def _name_socket(name: str) -> socket.socket:
    """
    Return a unix socket with a name, which nobody can connect to.
    """
    made = socket.socket(socket.AF_UNIX)
    try:
        made.setblocking(False)
        made.bind(name)
        os.unlink(name)
    except OSError:
        made.close()
        raise
    return made
