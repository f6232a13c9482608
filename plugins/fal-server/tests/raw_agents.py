"""Agents of runners that are plain sockets: a function of the test handles each connection."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from fal_server.commands.event_loops import make_loop
from fal_server.fleet.http_client import HttpClient

PATIENCE = 60


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Agent:
    """
    A server of sockets; each of its connections is handled by the next function of the
    test.
    """

    def __init__(self, *turns: Serve) -> None:
        self.turns = turns
        self.connections = 0
        self.requests: list[bytes] = []
        self.gone = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        turn = self.turns[min(self.connections, len(self.turns) - 1)]
        self.connections += 1
        try:
            await turn(self._noting(reader), writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.gone.set()
        finally:
            writer.close()

    def _noting(self, reader: asyncio.StreamReader) -> asyncio.StreamReader:
        read = reader.readuntil

        async def readuntil(separator: Any = b"\r\n\r\n") -> bytes:
            found = await read(separator)
            self.requests.append(found)
            return found

        # Each turn reads by itself; what it reads is noted for all of them here.
        reader.readuntil = readuntil  # type: ignore[method-assign]  # it calls the old one
        return reader


@contextlib.asynccontextmanager
async def listening(agent: Agent) -> AsyncIterator[tuple[HttpClient, str]]:
    """Have *agent* listen, and yield a client and its url."""
    server = await asyncio.start_server(agent.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, contextlib.aclosing(HttpClient()) as exchanges:
        yield exchanges, f"http://127.0.0.1:{port}"


@contextlib.asynccontextmanager
async def listening_on(path: Path, agent: Agent) -> AsyncIterator[tuple[HttpClient, str]]:
    """Have *agent* listen on a Unix socket, and yield a client and its url."""
    server = await asyncio.start_unix_server(agent.serve, path)
    async with server, contextlib.aclosing(HttpClient()) as exchanges:
        yield exchanges, f"unix:{path}"


def run(work: Awaitable[Any]) -> Any:
    """Return the result of *work*, in an event loop like that of the server."""
    loop = make_loop()
    try:
        return loop.run_until_complete(asyncio.wait_for(work, PATIENCE))
    finally:
        # Transports that were closed report it in a later step of the loop.
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()


def answering(*answers: bytes) -> Serve:
    """Return a handler that sends each of *answers* to one request, and then closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()

    return serve


def holding(answer: bytes) -> Serve:
    """Return a handler that answers any number of requests in the same way."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)

    return serve


async def ask(exchanges: HttpClient, url: str, method: str = "GET", **given: Any) -> bytes:
    """Return the body of an answer."""
    headers = given.pop("headers", {})
    async with exchanges.ask(method, url, "/", headers=headers, **given) as upstream:
        return await upstream.read()


def answer_of(turn: Serve, method: str = "GET", **given: Any) -> tuple[int, str, bytes]:
    """Return the status, a header and the body that *turn* answers a request with."""

    async def main() -> tuple[int, str, bytes]:
        async with (
            listening(Agent(turn)) as (exchanges, url),
            exchanges.ask(method, url, "/", headers={}, **given) as upstream,
        ):
            body = await upstream.read()
            return upstream.status, upstream.headers.get("X-Mine", ""), body

    return run(main())


@contextlib.contextmanager
def full_listener() -> Iterator[str]:
    """Yield a URL at which no further connection is made, as nobody accepts those that wait."""
    with socket.socket() as full, contextlib.ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        yield f"http://127.0.0.1:{full.getsockname()[1]}"
