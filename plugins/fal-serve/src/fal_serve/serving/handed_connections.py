"""
Connections that another process of this machine has accepted for a service.

Nothing has to be passed on for them any more: whoever accepts connections from other machines
gives the service those that are for it, once it knows who they are of.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

#: The variable that says how the local sockets of services are called, to which their port is
#: added.
_NAME = "FAL_CORE_CONNECTIONS"
#: How many are taken at once.
_MOST = 16


class HandedConnections:
    """
    Takes connections for a service, from whoever gave it the name of their local socket.

    Arguments:
        port: That of the service.

        make: Makes the protocol of one.
    """

    def __init__(self, name: str, port: int, make: Callable[[], asyncio.Protocol]) -> None:
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{name}-{port}")
        self._socket.setblocking(False)
        self._loop.add_reader(self._socket, self._take)

    def _take(self) -> None:
        try:
            _, given, _, _ = socket.recv_fds(self._socket, 1, _MOST, socket.MSG_CMSG_CLOEXEC)
        except OSError:
            return
        for each in given:
            task = self._loop.create_task(self._serve(each))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, descriptor: int) -> None:
        try:
            connection = socket.socket(fileno=descriptor)
        except OSError:
            os.close(descriptor)
            return
        try:
            connection.setblocking(False)
            await self._loop.connect_accepted_socket(self._make, connection)
        except (OSError, ValueError):
            connection.close()

    def close(self) -> None:
        """
        Take no more.
        """
        self._loop.remove_reader(self._socket)
        self._socket.close()


def take_handed(
    listener: socket.socket, make: Callable[[], asyncio.Protocol]
) -> HandedConnections | None:
    """
    Take the connections of a service that listens at *listener* too; None where nobody hands
    any over.
    """
    name = os.environ.get(_NAME)
    if not name or listener.family == socket.AF_UNIX:
        return None
    return HandedConnections(name, listener.getsockname()[1], make)
