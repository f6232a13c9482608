"""Connections to the port of the API, read as bytes."""

from __future__ import annotations

import socket
import ssl
from typing import Any

REQUEST = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def connect(plane: Any) -> socket.socket:
    """Connect to the API of *plane*."""
    return socket.create_connection(("127.0.0.1", plane.plane.ports["api"]), timeout=30)


def read_all(connection: socket.socket) -> bytes:
    """Read until the other end closes the connection."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def trusting(plane: Any) -> ssl.SSLContext:
    """Return a TLS context that trusts the authority of *plane*."""
    return ssl.create_default_context(cafile=str(plane.directory.tls / "ca.pem"))
