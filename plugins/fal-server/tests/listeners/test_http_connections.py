"""HTTP connections: requests that cannot be read, and bodies that are passed as they are."""

from __future__ import annotations

import asyncio
import gzip
import logging
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from fal_server.listeners.http_connections import connections_of, start_http

Send = Callable[[bytes], Awaitable[bytes]]


def exchange(
    message: bytes, *, inflates: bool = True, answer: Callable[..., Awaitable[web.Response]]
) -> bytes:
    """Send *message* to a server whose requests *answer* handles, and return all that comes."""

    async def main() -> bytes:
        server = web.Server(answer)
        connect = connections_of(server, inflates=inflates)
        listener = await asyncio.get_running_loop().create_server(connect, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        async with listener:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(message)
            received = await asyncio.wait_for(reader.read(), 60)
            writer.close()
            await server.shutdown()
        return received

    return asyncio.run(main())


async def echo(request: web.BaseRequest) -> web.Response:
    """Answer with the length of the path and the body."""
    body = await request.read()
    return web.Response(body=str(len(request.path)).encode() + b" " + body)


@pytest.mark.parametrize(
    "message",
    [
        b"GET / HTTP/1.1\r\nAuthorization: Key a:SECRET\0\r\n\r\n",
        b"GET /SECRET HTTP/9\r\n\r\n",
        b"GET / HTTP/1.1\r\nKey a SECRET\r\n\r\n",
        b"GET /SECRET" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: SECRET" + b"a" * 9_000 + b"\r\n\r\n",
    ],
    ids=["header", "version", "colon", "long", "long-header"],
)
def test_request_that_cannot_be_parsed(message: bytes, caplog: pytest.LogCaptureFixture):
    """
    A request that cannot be parsed is refused and its connection closed; neither the
    response nor the log has any of it, as the broken line may have the key.
    """
    caplog.set_level(logging.DEBUG)
    received = exchange(message, answer=echo)
    assert received.startswith(b"HTTP/1.0 400") or received.startswith(b"HTTP/1.1 400")
    assert received.endswith(b'{"detail": "The request cannot be read."}')
    assert b"SECRET" not in received
    assert "SECRET" not in caplog.text
    assert "A request that cannot be read was refused" in caplog.text


def test_path_with_a_token():
    """A path may be as long as a token in it needs."""
    path = b"/" + b"a" * 12_000
    message = b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert exchange(message, answer=echo).endswith(b"12001 ")


def test_error_of_a_handler_is_no_unreadable_request():
    """A request whose handler fails gets a 500 that does not show the error."""

    async def fail(request: web.BaseRequest) -> web.Response:
        raise LookupError("SECRET")

    received = exchange(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", answer=fail)
    assert received.split(b" ")[1] == b"500"
    assert received.endswith(b'{"detail": "An error occurred."}')


@pytest.mark.parametrize("inflates", [True, False])
def test_compressed_body(inflates: bool):
    """A compressed body is inflated for the API, and left as it is for a gateway."""
    body = gzip.compress(b"words", mtime=0)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Encoding: gzip\r\n"
    message = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    received = exchange(message, inflates=inflates, answer=echo)
    assert received.endswith(b"1 words" if inflates else b"1 " + body)


def test_ending_server_lets_requests_finish():
    """A request that runs when the server ends is answered within the time for that."""

    async def main() -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def wait(_: web.Request) -> web.Response:
            begun.set()
            await go_on.wait()
            return web.Response(text="finished")

        application = web.Application()
        application.router.add_get("/", wait)
        runner, connect = await start_http(application, drain=60)
        listener = await asyncio.get_running_loop().create_server(connect, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await begun.wait()
        listener.close()
        ending = asyncio.ensure_future(runner.cleanup())
        # Let it begin to end.
        await asyncio.sleep(0)
        go_on.set()
        assert (await asyncio.wait_for(reader.read(), 60)).endswith(b"finished")
        await ending
        writer.close()

    asyncio.run(main())
