"""Greetings: the line that a connection to a node begins with, which says who it is of."""

from __future__ import annotations

import socket
import time

from fal_core.nodes.watched_sockets import watch_peer

#: Seconds that a stranger has to say who it is.
GREETING = 10.0
#: Bytes of the line.
_LONGEST = 256


def read_greeting(connection: socket.socket) -> tuple[bytes, bytes]:
    """
    Return the token and the purpose in the first line of *connection*, both empty where it
    does not come whole and in time.

    Raises:
        OSError: The connection broke.
    """
    line, until = b"", time.monotonic() + GREETING
    while not line.endswith(b"\n"):
        left = until - time.monotonic()
        if left <= 0 or len(line) > _LONGEST:
            return b"", b""
        connection.settimeout(left)
        part = connection.recv(1)
        if not part:
            return b"", b""
        line += part
    connection.settimeout(None)
    watch_peer(connection)
    token, _, purpose = line[:-1].partition(b" ")
    return token, purpose
