"""
Relays: ports of this machine that lead to a service on a node, through the agent there.

Whoever speaks to many services does without a relay: see :meth:`Relays.find_tunnel`.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from urllib.parse import urlsplit

import attrs

from fal_core.abilities import Tunnel
from fal_core.errors import HostError
from fal_host_ray.nodes.splices import join
from fal_host_ray.nodes.watched_sockets import watch_peer

#: Seconds that a node may take to be reached.
_REACH = 20.0
#: Connections of one relay that are open at once; further ones wait.
_MOST = 256


@attrs.frozen
class Way:
    """
    How the agent of a worker is reached.

    Attributes:
        address: Where it listens.

        token: What it knows its callers by.
    """

    address: tuple[str, int]
    token: str = attrs.field(repr=False)

    def greeting(self, purpose: str) -> bytes:
        """
        Return what a connection begins with that is for *purpose*.
        """
        return f"{self.token} {purpose}\n".encode()

    def connect(self, purpose: str) -> socket.socket:
        """
        Open a connection to the agent.

        Raises:
            OSError: It cannot be reached.
        """
        connection = socket.create_connection(self.address, _REACH)
        try:
            connection.settimeout(None)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            watch_peer(connection)
            connection.sendall(self.greeting(purpose))
        except BaseException:
            connection.close()
            raise
        return connection

    def wait_for_port(self, port: int) -> bool:
        """
        Wait until something listens at a port of the node, and return whether it does.

        Raises:
            OSError: The node cannot be reached.
        """
        with self.connect(f"await {port}") as connection:
            return connection.recv(1) == b"+"


class Relay:
    """
    A port of the loopback address of this machine that leads to a port of a node.

    Every user of this machine reaches it.

    Attributes:
        url: Where it is reached.
    """

    def __init__(self, way: Way, port: int) -> None:
        self.way = way
        self.port = port
        self._server = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.own_port: int = self._server.getsockname()[1]
        self._room = threading.BoundedSemaphore(_MOST)
        threading.Thread(target=self._accept, name="fal-core ray relay", daemon=True).start()

    def close(self) -> None:
        """
        Accept nobody any more. Connections end with the service.
        """
        # A thread that waits for a connection is not woken by closing alone.
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        while True:
            self._room.acquire()
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(
                target=self._serve, args=(connection,), name="fal-core ray relay", daemon=True
            ).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with suppress(OSError):
                    join(connection, self.way.connect(f"forward {self.port}"))
        finally:
            self._room.release()


class Relays:
    """
    The relays of a host.
    """

    def __init__(self) -> None:
        self._relays: dict[int, Relay] = {}
        self._lock = threading.Lock()

    def open(
        self, way: Way, urls: Mapping[str, str], *, is_awaited: bool = False
    ) -> tuple[Mapping[str, str], Callable[[], None]]:
        """
        Return *urls*, as a service on a node sees them, as they are reached from here; and
        what ends the relays to them.

        Arguments:
            is_awaited: Whether to wait until the service listens.

        Raises:
            HostError: The node cannot be reached, or the service has ended.
        """
        made: dict[int, Relay] = {}
        relayed = {}
        try:
            for name, url in urls.items():
                parts = urlsplit(url)
                port = parts.port or 80
                if port not in made:
                    if is_awaited and not way.wait_for_port(port):
                        raise HostError(f"Port {port} of a node is closed: its worker has ended.")
                    made[port] = Relay(way, port)
                netloc = f"127.0.0.1:{made[port].own_port}"
                relayed[name] = parts._replace(netloc=netloc).geturl()
        except OSError as error:
            _close(made.values())
            where = f"{way.address[0]}:{way.address[1]}"
            raise HostError(f"A node cannot be reached at {where}: {error}.") from error
        except BaseException:
            _close(made.values())
            raise
        with self._lock:
            self._relays.update((each.own_port, each) for each in made.values())

        def close() -> None:
            with self._lock:
                for each in made.values():
                    self._relays.pop(each.own_port, None)
            _close(made.values())

        return relayed, close

    def find_tunnel(self, url: str) -> Tunnel | None:
        """
        Return how a connection is opened to what a relay leads to, and None for another URL.
        """
        parts = urlsplit(url)
        with self._lock:
            relay = self._relays.get(parts.port or 80)
        if relay is None or parts.hostname != "127.0.0.1":
            return None
        way = relay.way
        return Tunnel(*way.address, way.greeting(f"forward {relay.port}"))

    def close(self) -> None:
        """
        End all relays.
        """
        with self._lock:
            left = list(self._relays.values())
            self._relays.clear()
        _close(left)


def _close(relays: Iterable[Relay]) -> None:
    for each in relays:
        each.close()
