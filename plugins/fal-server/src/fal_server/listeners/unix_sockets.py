"""
Connections to Unix sockets.
"""

from __future__ import annotations

import asyncio
import socket

#: Seconds between two attempts to connect to one that accepts none at the moment.
_PAUSE = 0.02


async def connect_unix(made: socket.socket, address: str) -> None:
    """
    Connect *made*, which does not block, to the Unix socket at *address*, and wait where so
    many connections wait already that the system does not queue another.

    Raises:
        OSError: Nobody listens there.
    """
    while True:
        try:
            made.connect(address)
        except BlockingIOError:
            await asyncio.sleep(_PAUSE)
        else:
            return
