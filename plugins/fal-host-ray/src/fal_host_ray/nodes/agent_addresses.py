"""
Addresses of agents: how a worker is reached on its node.
"""

from __future__ import annotations

import socket

import attrs

from fal_core.abilities import Tunnel
from fal_host_ray.nodes.watched_sockets import watch_peer

#: Seconds that a node may take to be reached.
_REACH = 20.0


@attrs.frozen
class AgentAddress:
    """
    Where the agent of a worker listens.

    Attributes:
        token: What it knows the callers of that worker by.
    """

    host: str
    port: int
    token: str = attrs.field(repr=False)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    def connect(self, purpose: str) -> socket.socket:
        """
        Open a connection for *purpose*, as the agent describes those.

        Raises:
            OSError: It cannot be reached.
        """
        connection = socket.create_connection((self.host, self.port), _REACH)
        try:
            connection.settimeout(None)
            watch_peer(connection)
            connection.sendall(self._greeting(purpose))
        except BaseException:
            connection.close()
            raise
        return connection

    def tunnel(self, port: int) -> Tunnel:
        """
        Return how others open connections to a port of the node.
        """
        return Tunnel(self.host, self.port, self._greeting(f"forward {port}"))

    def _greeting(self, purpose: str) -> bytes:
        return f"{self.token} {purpose}\n".encode()
