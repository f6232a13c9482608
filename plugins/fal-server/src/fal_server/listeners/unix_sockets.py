"""Connections to Unix sockets."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator

#: Seconds between two attempts to connect to one that accepts none at the moment.
_PAUSE = 0.02


async def connect_unix(made: socket.socket, address: str) -> None:
    """
    Connect *made*, which does not block, to the Unix socket at *address*, and wait where so
    many connections wait already that the system does not queue another.

    Raises:
        OSError: Nobody listens there.
    """
    with plain_socket(address) as path:
        while True:
            try:
                made.connect(path)
            except BlockingIOError:
                await asyncio.sleep(_PAUSE)
            else:
                return


async def open_unix(address: str) -> socket.socket:
    """
    Return a socket that is connected to the Unix socket at *address*.

    Raises:
        OSError: Nobody listens there.
    """
    made = socket.socket(socket.AF_UNIX)
    made.setblocking(False)
    try:
        await connect_unix(made, address)
    except BaseException:
        made.close()
        raise
    return made


@contextlib.contextmanager
def plain_socket(address: str) -> Iterator[str]:
    """
    Return a path that leads to the Unix socket at *address* while the context lasts, and
    follows no link in its place: a runner could put one there that leads to another socket of
    this machine.

    Raises:
        OSError: There is no socket.
    """
    if not hasattr(os, "O_PATH"):
        yield address
        return
    descriptor = os.open(address, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK), address)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
