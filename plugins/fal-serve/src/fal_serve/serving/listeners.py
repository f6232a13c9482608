"""
Listeners: the sockets of services.
"""

from __future__ import annotations

import errno
import socket

from fal_core_worker.serving import services
from fal_core_worker.serving.ports import holder


class CannotListen(services.StartupError, OSError):
    """
    A port is taken, or not permitted.
    """

    def __str__(self) -> str:
        return str(self.strerror)


def bind(
    host: str,
    port: int,
    what: str = "service",
    remedy: str = "Give it another port, as by 'fal-core run --port'.",
) -> socket.socket:
    """
    Return a socket that is bound to an address and does not listen yet.

    Until it does, connections are refused: an open port means that the service is ready.

    Raises:
        CannotListen: The port cannot be bound.
    """
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
        raise CannotListen(
            error.errno,
            f"The {what} cannot listen on {_joined(host, port)}: {reason}. {remedy}",
        ) from error
    return listener


def url_of(listener: socket.socket) -> str:
    """
    Return the URL of *listener*.
    """
    host, port = listener.getsockname()[:2]
    return f"http://{_joined(host, port)}"


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
