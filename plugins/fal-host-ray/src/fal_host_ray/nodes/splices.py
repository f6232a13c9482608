"""
Splices: two connections that are one.
"""

from __future__ import annotations

import select
import socket
import threading
from contextlib import suppress

#: Bytes that are passed on at once.
_PART = 1 << 18
#: Seconds between two looks whether a port is open.
_PAUSE = 0.02


def splice(connection: socket.socket, port: int) -> None:
    """
    Pass bytes between *connection* and a port of the loopback address until both have ended.
    """
    try:
        service = socket.create_connection(("127.0.0.1", port), timeout=10)
    except OSError:
        connection.close()
        return
    service.settimeout(None)
    service.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    join(connection, service)


def await_port(connection: socket.socket, port: int) -> None:
    """
    Wait until something listens at a port of the loopback address, and send a ``+``; or until
    nobody waits at the other end of *connection*.
    """
    with connection, suppress(OSError):
        while not select.select([connection], [], [], _PAUSE)[0]:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10):
                connection.sendall(b"+")
                return


def join(one: socket.socket, other: socket.socket) -> None:
    """
    Pass bytes between two connections until both have ended, and close them.
    """
    with one, other:
        back = threading.Thread(target=_pass_on, args=(other, one), daemon=True)
        back.start()
        _pass_on(one, other)
        back.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while part := source.recv(_PART):
            target.sendall(part)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
