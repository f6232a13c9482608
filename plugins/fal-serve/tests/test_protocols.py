"""
Protocols: how what an application answers is written to its connection.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from fastapi.responses import StreamingResponse

from fal_core_worker.serving.routes import RouteSignature
from fal_serve.protocols import JoiningTransport
from fal_serve.servables import BaseServable

HEAD, BODY = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n", b"fine"
PATIENCE = 30.0


class Recorded:
    """
    What is beneath a transport: it notes each write, as a system call each.
    """

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closing = False

    def write(self, data: bytes) -> None:
        assert not self.closing
        self.writes.append(data)

    def writelines(self, data: Any) -> None:
        assert all(data)
        self.write(b"".join(data))

    def close(self) -> None:
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing


def writes_of(steps: Any) -> list[bytes]:
    """
    Return what is written by the end of *steps*, which are given a transport.
    """

    async def main() -> list[bytes]:
        beneath: Any = Recorded()
        transport = JoiningTransport(beneath, asyncio.get_running_loop())
        await steps(transport, beneath)
        await asyncio.sleep(0)
        return beneath.writes

    return asyncio.run(main())


def test_a_head_goes_with_its_body():
    """
    An answer that is there at once takes one write, and so does the next.
    """

    async def steps(transport: Any, beneath: Any) -> None:
        for _ in range(2):
            transport.write(HEAD)
            transport.write(BODY)
        transport.write(BODY)

    assert writes_of(steps) == [HEAD + BODY, HEAD + BODY, BODY]


def test_a_head_without_a_body_goes_at_the_end_of_its_turn():
    """
    Nobody waits for the head of a stream until its first part is there.
    """

    async def steps(transport: Any, beneath: Any) -> None:
        transport.write(HEAD)
        assert beneath.writes == []
        await asyncio.sleep(0)
        assert beneath.writes == [HEAD]
        transport.write(BODY)

    assert writes_of(steps) == [HEAD, BODY]


def test_a_head_with_an_empty_body_ends_there():
    """
    A loop may try for ever to send the nothing that comes last in one write.
    """

    async def steps(transport: Any, beneath: Any) -> None:
        transport.write(HEAD)
        transport.write(b"")
        transport.write(b"")

    assert writes_of(steps) == [HEAD]


def test_a_head_goes_before_its_connection_is_closed():
    """
    An answer without a body, after which a connection ends, arrives.
    """

    async def steps(transport: Any, beneath: Any) -> None:
        transport.write(HEAD)
        transport.close()
        assert transport.is_closing()

    assert writes_of(steps) == [HEAD]


def test_nothing_is_written_to_a_client_that_has_gone():
    """
    A client may go between a head and the end of its turn.
    """

    async def steps(transport: Any, beneath: Any) -> None:
        transport.write(HEAD)
        beneath.closing = True

    assert writes_of(steps) == []


class Streaming(BaseServable):
    """
    A stream whose first part comes once the client has gone on, and an answer at once.
    """

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
    """
    Post to *path*, and give the connection.
    """
    parts = urlsplit(url)
    assert parts.hostname is not None
    with socket.create_connection((parts.hostname, parts.port), PATIENCE) as connection:
        connection.sendall(
            f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".encode()
        )
        yield connection


def test_a_client_reads_the_head_of_a_stream_before_its_parts(serve_with):
    """
    The head of a stream arrives at once, and an answer that is there in one piece.
    """
    service = serve_with(nothing, Streaming)
    with asked(service.url, "/late") as late:
        assert late.recv(65536).endswith(b"\r\n\r\n")
        with asked(service.url, "/go") as connection:
            assert connection.recv(65536).endswith(b'\r\n\r\n"gone on"')
        assert late.recv(65536).startswith(b"4\r\npart\r\n")


def test_a_client_that_waits_to_be_told_to_go_on(serve_with):
    """
    Who asks before it sends a body is told to, with nothing to wait for behind that.
    """
    service = serve_with(nothing, Taking)
    parts = urlsplit(service.url)
    with socket.create_connection((parts.hostname, parts.port), PATIENCE) as connection:
        head = b"POST /take HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        connection.sendall(head + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"[1]")
        assert connection.recv(65536).endswith(b"\r\n\r\n[1]")


class Taking(BaseServable):
    """
    A handler that answers with what it is sent.
    """

    def __init__(self, func: Any) -> None:
        pass

    def collect_routes(self) -> dict[RouteSignature, Any]:
        return {RouteSignature("/take"): self.take}

    async def take(self, numbers: list[int]) -> list[int]:
        return numbers
