"""The HTTP server of the gateways: errors, tokens in URLs, and senders that go."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from fal_server.errors import NotFound
from fal_server.gateways.http_servers import Handler, is_websocket, serve_gateway, with_token
from fal_server.listeners.http_connections import connections_of
from fal_server.routing.refusals import StartTimeout


def test_unreadable_bodies_are_refused(
    served_plane: Any, mirror: str, caplog: pytest.LogCaptureFixture
):
    """A malformed body is refused with a 400, and no part of it is sent back or logged."""
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


def ask(answer: Handler, **headers: str) -> tuple[int, Any, Mapping[str, str]]:
    """Return the status, the JSON and the headers with which a gateway responds."""

    async def main() -> tuple[int, Any, Mapping[str, str]]:
        server = serve_gateway(answer)
        connect = connections_of(server)
        listener = await asyncio.get_running_loop().create_server(connect, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        async with listener, aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{port}/a/SECRET?fal_jwt_token=T"
            async with session.get(url, headers=headers) as response:
                found = response.status, await response.json(), response.headers
        await server.shutdown()
        return found

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("error", "status", "content", "kind"),
    [
        (NotFound("It is gone."), 404, {"detail": "It is gone."}, None),
        (
            StartTimeout("Too late."),
            504,
            {"detail": "Too late.", "error_type": "startup_timeout"},
            "startup_timeout",
        ),
        (web.HTTPUpgradeRequired(), 426, {"detail": "Upgrade Required"}, None),
        (LookupError("SECRET"), 500, {"detail": "An internal error occurred."}, None),
    ],
)
def test_error_is_a_response(error, status, content, kind, caplog):
    """
    Whatever a gateway raises becomes a response in JSON; the text of an unexpected error is
    for the log alone.
    """

    async def answer(request: web.BaseRequest) -> web.Response:
        raise error

    found = ask(answer)
    assert found[:2] == (status, content)
    assert found[2].get("x-fal-error-type") == kind
    assert ("LookupError" in caplog.text) is isinstance(error, LookupError)


@pytest.mark.parametrize(
    ("headers", "shown"),
    [({}, "Bearer T"), ({"Authorization": "Key a:b"}, "Key a:b")],
)
def test_token_in_a_url(headers: dict[str, str], shown: str):
    """A token in the query stands for the header, unless that is there."""

    async def answer(request: web.BaseRequest) -> web.Response:
        return web.json_response(
            [with_token(request).get("authorization"), is_websocket(request)]
        )

    assert ask(answer, **headers)[1] == [shown, False]
    assert ask(answer, Upgrade="WebSocket", **headers)[1] == [shown, True]


def test_request_of_a_sender_that_has_gone_is_cancelled():
    """A handler is cancelled when its sender disconnects, so that its runner is free again."""

    async def main() -> None:
        begun, cancelled = asyncio.Event(), asyncio.Event()

        async def answer(request: web.BaseRequest) -> web.Response:
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise
            raise AssertionError

        server = serve_gateway(answer)
        connect = connections_of(server)
        listener = await asyncio.get_running_loop().create_server(connect, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        async with listener:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await begun.wait()
            writer.close()
            await asyncio.wait_for(cancelled.wait(), 60)
        await server.shutdown()

    asyncio.run(main())
