"""The protocol of HTTP connections."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from fastapi.responses import StreamingResponse

from fal_core_worker.serving.routes import RouteSignature
from fal_serve.servables import BaseServable

PATIENCE = 30.0


class Streaming(BaseServable):
    """A stream whose first part waits for a second request, and that request."""

    def __init__(self, func: Any) -> None:
        self.may_go_on = asyncio.Event()

    def collect_routes(self) -> dict[RouteSignature, Any]:
        return {RouteSignature("/late"): self.late, RouteSignature("/go"): self.go}

    async def late(self) -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            await self.may_go_on.wait()
            yield b"part"

        return StreamingResponse(parts())

    async def go(self) -> str:
        self.may_go_on.set()
        return "gone on"


def nothing() -> None: ...


@contextmanager
def asked(url: str, path: str) -> Iterator[socket.socket]:
    """Send a POST request to *path*, and yield the connection."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    with socket.create_connection((parts.hostname, parts.port), PATIENCE) as connection:
        connection.sendall(
            f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".encode()
        )
        yield connection


def read_until(connection: socket.socket, end: bytes) -> bytes:
    """Return the bytes received up to *end*."""
    data = b""
    while not data.endswith(end):
        part = connection.recv(65536)
        assert part, data
        data += part
    return data


def test_a_client_reads_the_head_of_a_stream_before_its_parts(serve_with):
    """The head of a stream arrives at once, while its first part is still awaited."""
    service = serve_with(nothing, Streaming)
    with asked(service.url, "/late") as late:
        assert late.recv(65536).endswith(b"\r\n\r\n")
        with asked(service.url, "/go") as connection:
            assert read_until(connection, b'\r\n\r\n"gone on"')
        assert late.recv(65536).startswith(b"4\r\npart\r\n")


def test_a_client_that_waits_to_be_told_to_go_on(serve_with):
    """``Expect: 100-continue`` is answered before the body is sent."""
    service = serve_with(nothing, Taking)
    parts = urlsplit(service.url)
    with socket.create_connection((parts.hostname, parts.port), PATIENCE) as connection:
        head = b"POST /take HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        connection.sendall(head + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"[1]")
        assert read_until(connection, b"\r\n\r\n[1]")


class Taking(BaseServable):
    """A handler that returns its input."""

    def __init__(self, func: Any) -> None:
        pass

    def collect_routes(self) -> dict[RouteSignature, Any]:
        return {RouteSignature("/take"): self.take}

    async def take(self, numbers: list[int]) -> list[int]:
        return numbers
