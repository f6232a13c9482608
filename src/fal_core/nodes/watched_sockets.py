"""Connections whose other end is noticed when it is gone, also where it says no word."""

from __future__ import annotations

import socket

#: Seconds of silence after which the other machine is asked whether it is there, seconds
#: between two questions, and how many may stay unanswered.
_IDLE, _BETWEEN, _COUNT = 3, 2, 3


def watch_peer(connection: socket.socket) -> None:
    """
    Send what is written to *connection* at once, and have it break within ten seconds once
    the machine at its other end is gone.

    A program there that does not read is no reason: the machine answers for it.
    """
    if connection.family == socket.AF_UNIX:
        return
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", _IDLE),
        ("TCP_KEEPINTVL", _BETWEEN),
        ("TCP_KEEPCNT", _COUNT),
    ):
        number = getattr(socket, name, None)
        if number is not None:
            connection.setsockopt(socket.IPPROTO_TCP, number, value)
