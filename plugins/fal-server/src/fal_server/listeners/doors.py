"""Doors: the listeners of a server, opened together."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import attrs
from aiohttp import web

from fal_core.workers import most_open_files
from fal_server.errors import ServerError
from fal_server.listeners.certificates import Certificate
from fal_server.listeners.drains import MOMENT, Drain
from fal_server.listeners.grpc_connections import GrpcServer
from fal_server.listeners.http_connections import connections_of, start_http
from fal_server.listeners.open_connections import OpenConnections
from fal_server.listeners.shared_ports import Listener, ProtocolFactory
from fal_server.settings import ServerSettings
from fal_server.state.data_directories import DataDirectory


@attrs.frozen
class Service:
    """
    What answers at a port.

    Attributes:
        http: Makes the protocol of an HTTP/1.1 connection.

        grpc: Answers gRPC connections. None where there is no gRPC.
    """

    http: ProtocolFactory
    grpc: GrpcServer | None = None


@attrs.define(eq=False)
class Doors:
    """
    The listeners of a server, with one certificate and one limit of connections.

    Attributes:
        ports: The port of each listener, by its name; it is filled here.

        ends: Called when the server ends. Listeners are closed before the servers behind
            them.
    """

    settings: ServerSettings
    certificate: Certificate
    ports: dict[str, int]
    ends: contextlib.AsyncExitStack
    connections: OpenConnections = attrs.field(init=False)
    _listeners: list[Listener] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.connections = OpenConnections(
            self.settings.limits, self.settings.proxies, files=most_open_files()
        )

    @classmethod
    def create(
        cls,
        settings: ServerSettings,
        directory: DataDirectory,
        ports: dict[str, int],
        ends: contextlib.AsyncExitStack,
    ) -> Doors:
        """Find or make the certificate of a server."""
        host = settings.host
        own = [] if host in {"0.0.0.0", "::", ""} else [host]
        return cls(settings, Certificate(directory, [*settings.names, *own]), ports, ends)

    def listen(self, name: str, service: Service) -> None:
        """
        Listen at a port. Connections wait until :meth:`open`.

        Raises:
            ServerError: The port is taken, or the address is not one of this machine.
        """
        host, port = self.settings.host, self.settings.port_of(name)
        protocols = ["http/1.1"] if service.grpc is None else ["h2", "http/1.1"]
        tls = self.certificate.make_context(*protocols)
        limits, http, grpc = self.settings.limits, service.http, service.grpc
        listener = Listener(name, http, grpc, tls, limits, self.connections)
        try:
            self.ports[name] = listener.listen(host, port)
        except OSError as error:
            raise ServerError(listener.describe(error, host, port)) from error
        self.ends.push_async_callback(listener.close)
        self._listeners.append(listener)

    def hand_over(self, services: Mapping[str, Service]) -> None:
        """Have others answer the connections that come from now on, by the names of the ports."""
        for listener in self._listeners:
            if listener.name in services:
                service = services[listener.name]
                listener.http, listener.grpc = service.http, service.grpc

    async def start_http(
        self,
        application: web.Application,
        ends: contextlib.AsyncExitStack,
        drain: Drain,
    ) -> ProtocolFactory:
        """
        Start an HTTP application, and return the factory of its connections.

        Arguments:
            ends: Called when it ends.

            drain: How long requests then have to finish.
        """
        limits = self.settings.limits
        runner, connect = await start_http(application, drain=MOMENT, limits=limits)

        async def end() -> None:
            # Streams that never finish are ended first.
            await runner.shutdown()
            if runner.server is not None:
                await drain.end(runner.server)
            await runner.cleanup()

        ends.push_async_callback(end)
        return connect

    def start_gateway(
        self, server: web.Server, ends: contextlib.AsyncExitStack, drain: Drain
    ) -> ProtocolFactory:
        """Return the factory of the connections of a gateway, as :meth:`start_http` does."""

        async def end() -> None:
            await drain.end(server)

        ends.push_async_callback(end)
        return connections_of(server, self.settings.limits, inflates=False)

    def open(self) -> None:
        """Accept the connections that wait at all ports, and those that come."""
        for listener in self._listeners:
            listener.open()
