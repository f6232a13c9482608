"""Addresses of agents: how a worker is reached on its node."""

from __future__ import annotations

import socket
from collections.abc import Callable

import attrs

from fal_core.abilities import Tunnel
from fal_core.nodes.local_sockets import connect_locally
from fal_core.nodes.watched_sockets import watch_peer

#: Seconds that a node may take to be reached.
_REACH = 20.0


@attrs.frozen
class AgentAddress:
    """
    Where the agent of a worker listens.

    Attributes:
        token: What it knows the callers of that worker by.

        local_name: The name of its local socket, which processes of its machine use in
            place of the port. Empty where it has none.

        dial: Opens a connection to a port of the node, where *host* is not connected to.
    """

    host: str
    port: int
    token: str = attrs.field(repr=False)
    local_name: str = ""
    dial: Callable[[int], socket.socket] | None = attrs.field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    def connect(self, purpose: str) -> socket.socket:
        """
        Open a connection for *purpose*, as the agent describes those. It is a Unix socket
        where the agent is on this machine.

        Raises:
            OSError: It cannot be reached.
        """
        connection = connect_locally(self.local_name)
        try:
            if connection is None and self.dial is not None:
                connection = self.dial(self.port)
            elif connection is None:
                connection = socket.create_connection((self.host, self.port), _REACH)
                connection.settimeout(None)
                watch_peer(connection)
            connection.sendall(self._greeting(purpose))
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, OverflowError):
                # No port has the number that the agent tells.
                raise OSError(str(error)) from error
            raise
        return connection

    def tunnel(self, port: int) -> Tunnel:
        """Return how others open connections to a port of the node."""
        return Tunnel(self.host, self.port, self._greeting(f"forward {port}"))

    def _greeting(self, purpose: str) -> bytes:
        return f"{self.token} {purpose}\n".encode()
