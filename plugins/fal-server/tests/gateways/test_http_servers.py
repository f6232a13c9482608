"""
The HTTP server of the gateways: requests that it refuses by itself.
"""

from __future__ import annotations

import socket
from typing import Any

import pytest


def test_unreadable_bodies_are_refused(
    served_plane: Any, mirror: str, caplog: pytest.LogCaptureFixture
):
    """
    A malformed body is refused with a 400, and no part of it is sent back or logged.
    """
    for listener in ("run", "queue"):
        for body in (b"Key a:SECRETS\r\n", b"3\r\nabcKey a:SECRETS\r\n"):
            port = served_plane.plane.plane.ports[listener]
            head = f"POST /owner/{mirror} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked"
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                connection.sendall(head.encode() + b"\r\n\r\n" + body)
                answer = b""
                while part := connection.recv(65536):
                    answer += part
            assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400")), answer
            assert b"SECRETS" not in answer
    assert "SECRETS" not in caplog.text
