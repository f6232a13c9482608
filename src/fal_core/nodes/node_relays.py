"""
Relays: ports of this machine that lead to a service on a node, through the agent there.

A program that speaks to many services needs no relay: see :meth:`Relays.find_tunnel`.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from urllib.parse import urlsplit

from fal_core.abilities import Tunnel
from fal_core.errors import HostError
from fal_core.nodes.agent_addresses import AgentAddress
from fal_core.nodes.splices import join

#: Connections of one relay that are open at once; further ones wait.
_MOST = 256
#: Seconds between two looks whether the service has ended.
_LOOK = 1.0


class Relay:
    """
    A port of the loopback address of this machine that leads to a port of a node.

    Every user of this machine reaches it.

    Arguments:
        is_over: Returns whether the service has ended, and the relay with it.

    Attributes:
        own_port: The port of this machine.
    """

    def __init__(self, agent: AgentAddress, port: int, is_over: Callable[[], bool]) -> None:
        self.agent = agent
        self.port = port
        self._is_over = is_over
        self._server = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._server.settimeout(_LOOK)
        self.own_port: int = self._server.getsockname()[1]
        self._room = threading.BoundedSemaphore(_MOST)

    def serve(self) -> None:
        """Pass connections on until the service has ended."""
        with self._server:
            while not self._is_over():
                if not self._room.acquire(timeout=_LOOK):
                    continue
                try:
                    connection, _ = self._server.accept()
                except OSError:
                    self._room.release()
                    continue
                threading.Thread(
                    target=self._pass_on, args=(connection,), name="fal-core relay", daemon=True
                ).start()

    def _pass_on(self, connection: socket.socket) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            join(connection, self.agent.connect(f"forward {self.port}")).wait()
        except OSError:
            connection.close()
        finally:
            self._room.release()


class Relays:
    """The relays of a host."""

    def __init__(self) -> None:
        self._relays: dict[int, Relay] = {}
        self._lock = threading.Lock()
        self._is_closed = False

    def open(
        self,
        agent: AgentAddress,
        urls: Mapping[str, str],
        is_over: Callable[[], bool],
        *,
        is_awaited: bool = False,
    ) -> Mapping[str, str]:
        """
        Return *urls*, as a service on a node sees them, as they are reached from here.

        Arguments:
            is_over: Returns whether the service has ended, and with it the relays.

            is_awaited: Whether to wait until the service listens.

        Raises:
            HostError: The node cannot be reached, or the service has ended.
        """

        def has_ended() -> bool:
            return self._is_closed or is_over()

        ports: dict[int, int] = {}
        relayed = {}
        for name, url in urls.items():
            parts = urlsplit(url)
            port = parts.port or 80
            if port not in ports:
                if is_awaited:
                    _wait_for_port(agent, port, has_ended)
                ports[port] = self._open(Relay(agent, port, has_ended))
            relayed[name] = parts._replace(netloc=f"127.0.0.1:{ports[port]}").geturl()
        return relayed

    def _open(self, relay: Relay) -> int:
        with self._lock:
            self._relays[relay.own_port] = relay

        def serve() -> None:
            try:
                relay.serve()
            finally:
                with self._lock:
                    if self._relays.get(relay.own_port) is relay:
                        del self._relays[relay.own_port]

        threading.Thread(target=serve, name="fal-core relay", daemon=True).start()
        return relay.own_port

    def find_tunnel(self, url: str) -> Tunnel | None:
        """Return how a connection is opened to what a relay leads to, and None for another URL."""
        parts = urlsplit(url)
        with self._lock:
            relay = self._relays.get(parts.port or 80)
        if relay is None or parts.hostname != "127.0.0.1":
            return None
        return relay.agent.tunnel(relay.port)

    def close(self) -> None:
        """End all relays."""
        self._is_closed = True


def _wait_for_port(agent: AgentAddress, port: int, is_over: Callable[[], bool]) -> None:
    """
    Wait until something listens at a port of a node, or the service has ended.

    Raises:
        HostError: The node cannot be reached, or the worker has ended.
    """
    said: bytes | None = None
    try:
        with agent.connect(f"await {port}") as connection:
            connection.settimeout(_LOOK)
            while said is None and not is_over():
                with suppress(TimeoutError):
                    said = connection.recv(1)
    except OSError as error:
        raise HostError(f"A node cannot be reached at {agent}: {error}.") from error
    if said != b"+":
        raise HostError(f"Port {port} of a node is closed: its worker has ended.")
