"""
Local sockets: how programs of one machine reach each other without its network.

Their names are in no directory, so that nothing of them stays. They are Linux's alone; where
they are missing, the network is used.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import sys

#: The variable that tells a service on a node where it is given connections.
CONNECTIONS = "FAL_CORE_CONNECTIONS"
#: The names of sockets. Other programs of this user have sockets too, and an agent of another
#: machine could name one of those.
_NAMES = re.compile("fal-core-[0-9a-f]{32}")
#: Seconds that the listener may take to have room for one more connection.
_PATIENCE = 10.0


def make_name() -> str:
    """Return the name of a new socket; empty where there are none."""
    return f"fal-core-{os.urandom(16).hex()}" if sys.platform == "linux" else ""


def listen_locally(name: str, backlog: int) -> socket.socket | None:
    """Return a listening socket called *name*; None where there are none."""
    if not name:
        return None
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"\0{name}")
    listener.listen(backlog)
    return listener


def connect_locally(name: str) -> socket.socket | None:
    """
    Open a connection to the socket *name* of a process of this machine and this user. None
    where there is none.
    """
    if sys.platform != "linux" or not _NAMES.fullmatch(name):
        return None
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_PATIENCE)
    try:
        connection.connect(f"\0{name}")
        found = connection.getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")
        )
        if struct.unpack("3i", found)[1] == os.getuid():
            connection.settimeout(None)
            return connection
    except OSError:
        # It is on another machine, or has no room.
        pass
    connection.close()
    return None


def is_local(connection: socket.socket) -> bool:
    """
    Return whether the other end of a connection is a process of this machine that listens,
    and not a program that passes everything on.
    """
    return connection.family == socket.AF_UNIX and bool(connection.getpeername())


def hand_over(connection: socket.socket, name: str, port: int) -> bool:
    """
    Give *connection* to the service that listens on *port* of this machine, so that nothing
    has to be passed on; return False where it takes none.

    Arguments:
        name: What the service was told, by the variable ``FAL_CORE_CONNECTIONS``.
    """
    if not name:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service:
        service.settimeout(_PATIENCE)
        try:
            service.connect(f"\0{name}-{port}")
            socket.send_fds(service, [b"+"], [connection.fileno()])
        except OSError:
            return False
    connection.close()
    return True
