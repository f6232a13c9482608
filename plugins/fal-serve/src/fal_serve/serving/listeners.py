"""Listeners: the sockets of services."""

from __future__ import annotations

import errno
import os
import socket

from fal_core_worker.serving import services
from fal_core_worker.serving.ports import holder

#: What an address starts with that is a directory of Unix sockets.
_UNIX = "unix:"

_LARGEST_PORT = 65535

#: What stands for the addresses of both ends of a connection at a Unix socket.
LOCAL: tuple[tuple[str, int], tuple[str, int]] = (("127.0.0.1", 0), ("127.0.0.1", 80))


class CannotListen(services.StartupError, OSError):
    """A port is taken, or not permitted."""

    def __str__(self) -> str:
        return str(self.strerror)


def bind(
    host: str,
    port: int,
    what: str = "service",
    remedy: str = "Give it another port, as by 'fal-core run --port'.",
    *,
    name: str = "run",
) -> socket.socket:
    """
    Return a socket that is bound to an address and does not listen yet.

    Until it does, connections are refused: an open port means that the service is ready.

    Arguments:
        name: The name of the socket, where *host* is a directory of Unix sockets.

    Raises:
        CannotListen: The port cannot be bound, or is none.
    """
    if host.startswith(_UNIX):
        return _bind_unix(os.path.join(host.removeprefix(_UNIX), name), what)
    if not isinstance(port, int) or not 0 <= port <= _LARGEST_PORT:
        raise CannotListen(
            errno.EINVAL,
            f"The {what} cannot listen on port {port!r}: a port is a number from 0, which "
            f"takes a free one, to {_LARGEST_PORT}.",
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        reason = str(error.strerror)
        if error.errno == errno.EADDRINUSE:
            reason += f" by {holder(port)}"
        elif error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
            remedy = (
                "Give it the host of an interface of this machine: 127.0.0.1 for this machine "
                "alone, 0.0.0.0 for all interfaces."
            )
        raise CannotListen(
            error.errno,
            f"The {what} cannot listen on {_joined(host, port)}: {reason}. {remedy}",
        ) from error
    return listener


def _bind_unix(path: str, what: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(path)
    except OSError as error:
        listener.close()
        raise CannotListen(
            error.errno,
            f"The {what} cannot listen on {path}: {error.strerror}. Its directory is made for "
            "it alone; look for what else was made there.",
        ) from error
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the URL of *listener*."""
    if listener.family == socket.AF_UNIX:
        return f"{_UNIX}{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return f"http://{_joined(host, port)}"


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
