"""Stalls: how long a client is waited for that neither sends nor reads."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from fal_server.commands.event_loops import make_loop
from fal_server.errors import Refusal
from fal_server.gateways.http_servers import serve_gateway
from fal_server.limits import Limits
from fal_server.listeners.http_connections import connections_of, recognise
from fal_server.listeners.stalls import LEAST, within

#: Seconds that a client is waited for. A machine may stand still as long as the long one.
SHORT, LONG = 0.3, 60.0

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def serving(
    answer: Answer, *, head: float = LONG, stall: float = LONG, idle: float = LONG
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Serve requests as a gateway does, and yield a connection with the server."""
    server = serve_gateway(answer)
    limits = Limits(longest_head=head, longest_stall=stall, longest_idle=idle)
    connect = connections_of(server, limits)
    listener = await asyncio.get_running_loop().create_server(connect, "127.0.0.1", 0)
    host, port = listener.sockets[0].getsockname()
    sock = socket.socket()
    # The server sees soon that nobody reads.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (host, port))
    async with listener:
        reader, writer = await asyncio.open_connection(sock=sock)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()
            await server.shutdown(0)


async def read_all(reader: asyncio.StreamReader) -> bytes:
    """Read until the server has closed the connection."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while part := await asyncio.wait_for(reader.read(65536), LONG):
            received += part
    return received


async def drip(writer: asyncio.StreamWriter, part: bytes, ended: asyncio.Task[bytes]) -> None:
    """Send a little again and again, until the server has closed the connection."""
    while not ended.done():
        writer.write(part)
        # A client that is slow, but never silent for long.
        await asyncio.sleep(SHORT / 20)


async def drip_on(writer: asyncio.StreamWriter) -> None:
    """Send what means nothing, again and again, until that raises an error."""
    while True:
        writer.write(b"\r\n")
        await writer.drain()
        # The connection is closed after a while.
        await asyncio.sleep(SHORT / 20)


async def echo(request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(body=await request.read())


@pytest.mark.parametrize(
    ("begin", "part"),
    [(b"", b""), (HEAD + b"X: ", b""), (HEAD + b"X: ", b"a")],
    ids=["nothing", "half", "slow"],
)
def test_head_that_does_not_come(begin: bytes, part: bytes):
    """A client has so many seconds for the whole head of a request, however it is cut."""

    async def main() -> bytes:
        async with serving(echo, head=SHORT, idle=SHORT) as (reader, writer):
            ended = asyncio.create_task(read_all(reader))
            writer.write(begin)
            await drip(writer, part, ended)
            return await ended

    answer = asyncio.run(main())
    # What a client sends after the end may cost it the response.
    assert answer.startswith(b"HTTP/1.1 408") or (not answer and (part or not begin))


@pytest.mark.parametrize(
    ("framing", "part"),
    [
        (b"Content-Length: 100000", b""),
        (b"Content-Length: 100000", b"a"),
        (b"Transfer-Encoding: chunked", b"1\r\na\r\n"),
        (b"Transfer-Encoding: chunked", b"1;a=b\r\na\r\n"),
    ],
    ids=["silent", "slow", "chunks", "extensions"],
)
def test_body_that_does_not_come(framing: bytes, part: bytes):
    """
    A body has to come at some rate, however it is cut; its handler is told otherwise, and
    the client gets a 408.
    """
    raised: list[BaseException] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await echo(request)
        except Refusal as refusal:
            raised.append(refusal)
            raise

    async def main() -> bytes:
        async with serving(answer, stall=SHORT) as (reader, writer):
            ended = asyncio.create_task(read_all(reader))
            writer.write(HEAD + framing + b"\r\n\r\n")
            await drip(writer, part, ended)
            return await ended

    answered = asyncio.run(main())
    # What a client sends after the end may cost it the response.
    assert answered.startswith(b"HTTP/1.1 408") or (part and not answered)
    assert len(raised) == 1
    assert f"less than {LEAST} bytes" in str(raised[0])


def test_body_that_the_server_does_not_read():
    """A client that is not read from does not stall."""

    async def main() -> bytes:
        going = asyncio.Event()

        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            await going.wait()
            size = 0
            async for part in request.content.iter_any():
                size += len(part)
            return web.Response(body=str(size).encode())

        async with serving(answer, stall=SHORT) as (reader, writer):
            body = bytes(32 << 20)
            length = b"Connection: close\r\nContent-Length: %d" % len(body)
            sending = asyncio.create_task(_send(writer, HEAD + length + b"\r\n\r\n" + body))
            # Several times as long as a client may stall.
            await asyncio.sleep(4 * SHORT)
            assert not sending.done()
            going.set()
            return await read_all(reader)

    answer = asyncio.run(main())
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(str(32 << 20).encode())


async def _send(writer: asyncio.StreamWriter, content: bytes) -> None:
    writer.write(content)
    await writer.drain()


@pytest.mark.parametrize("streams", [True, False])
def test_response_that_nobody_reads(streams: bool):
    """A client that does not read a response is not waited for, and its handler ends."""

    async def main() -> None:
        ended = asyncio.Event()

        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            try:
                if not streams:
                    return web.Response(body=bytes(32 << 20))
                response = web.StreamResponse()
                await response.prepare(request)
                while True:
                    await response.write(bytes(1 << 16))
            finally:
                ended.set()

        async with serving(answer, stall=SHORT) as (_, writer):
            writer.write(HEAD + b"\r\n")
            await asyncio.wait_for(ended.wait(), LONG)
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(drip_on(writer), LONG)

    asyncio.run(main())


def test_response_that_is_read_slowly():
    """
    A client that reads a response slowly gets all of it, as long as it takes some of it
    while it may stall.
    """
    size = 4 << 20

    async def main() -> int:
        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            response = web.Response(body=bytes(size))
            response.force_close()
            return response

        stall = 2.0
        async with serving(answer, stall=stall) as (reader, writer):
            writer.write(HEAD + b"\r\n")
            received, began = 0, time.monotonic()
            while part := await asyncio.wait_for(reader.read(size // 50), LONG):
                received += len(part)
                # The whole takes several times as long as a client may stall.
                await asyncio.sleep(max(0.0, began + 2 * stall * received / size - _now()))
            return received

    assert asyncio.run(main()) > size


def _now() -> float:
    return time.monotonic()


def test_connection_without_a_request():
    """
    A connection that has had its request is closed after a while, unless its client has
    shown a key.
    """

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if "Known" in request.headers:
            recognise(request)
        return web.Response(text="answered")

    async def main(head: bytes) -> None:
        async with serving(answer, idle=SHORT) as (reader, writer):
            writer.write(head + b"\r\n")
            assert (await reader.readuntil(b"answered")).startswith(b"HTTP/1.1 200")
            assert await asyncio.wait_for(reader.read(), LONG) == b""

    asyncio.run(main(HEAD))
    with pytest.raises(asyncio.TimeoutError):
        # It would have been closed several times over.
        asyncio.run(asyncio.wait_for(main(HEAD + b"Known: yes\r\n"), 4 * SHORT))


async def stand_still(sock: socket.socket, late: bytes, seconds: float) -> None:
    """Let the event loop stand still for so long, as it reads something, while a client sends."""
    loop, has_stood = asyncio.get_running_loop(), asyncio.Event()
    here, there = socket.socketpair()

    def stand() -> None:
        loop.remove_reader(here)
        sock.send(late)
        # Longer than a client is waited for.
        time.sleep(1.5 * seconds)
        has_stood.set()

    with here, there:
        loop.add_reader(here, stand)
        there.send(b"a")
        await has_stood.wait()


async def turn() -> None:
    """Let the loop read what has been sent."""
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.mark.parametrize("make", [make_loop, asyncio.new_event_loop])
@pytest.mark.parametrize(
    ("early", "late"),
    [
        (b"", HEAD + b"Connection: close\r\n\r\n"),
        (HEAD, b"Connection: close\r\n\r\n"),
        (HEAD + b"Connection: close\r\nContent-Length: 1\r\n\r\n", b"a"),
    ],
    ids=["nothing", "half", "body"],
)
def test_server_that_stands_still(
    early: bytes, late: bytes, make: Callable[[], asyncio.AbstractEventLoop]
):
    """What a client has sent in time is answered, however late the server reads it."""
    seconds = 0.5

    async def main() -> bytes:
        limits = Limits(longest_head=seconds, longest_stall=seconds)
        server = serve_gateway(echo)
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(connections_of(server, limits), "127.0.0.1", 0)
        with socket.socket() as sock:
            sock.setblocking(False)
            async with listener:
                await loop.sock_connect(sock, listener.sockets[0].getsockname())
                sock.send(early)
                await turn()
                await stand_still(sock, late, seconds)
                answer = b""
                while part := await asyncio.wait_for(loop.sock_recv(sock, 65536), LONG):
                    answer += part
                await server.shutdown(0)
                return answer

    with contextlib.closing(make()) as loop:
        assert loop.run_until_complete(main()).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("make", [make_loop, asyncio.new_event_loop])
def test_first_bytes_while_a_server_stands_still(
    make: Callable[[], asyncio.AbstractEventLoop],
):
    """
    Bytes that came in time are seen, however late the server looks; those that do not come
    are not waited for.
    """
    seconds = 0.5

    async def main() -> None:
        loop = asyncio.get_running_loop()
        client, server = socket.socketpair()
        with client, server:
            ready: asyncio.Future[None] = loop.create_future()
            with pytest.raises(asyncio.TimeoutError):
                await within(0.01, ready)
            loop.add_reader(server, lambda: ready.done() or ready.set_result(None))
            waiting = asyncio.ensure_future(within(seconds, ready))
            await turn()
            await stand_still(client, b"a", seconds)
            await waiting
            loop.remove_reader(server)

    with contextlib.closing(make()) as loop:
        loop.run_until_complete(main())
