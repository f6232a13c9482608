"""Connections that another process has accepted for a service."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import types
from typing import Any

import pytest
from fastapi import Request, WebSocket
from websockets.asyncio.client import connect

from fal_core_worker import current
from fal_core_worker.serving.routes import RouteSignature
from fal_serve import BaseServable
from fal_serve.declaring.settings import ServiceSettings
from fal_serve.serving.services import RunningService

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="Linux alone has local sockets without a path."
)

PATIENCE = 60


class Answering(BaseServable):
    """A servable that tells where its requests come from."""

    def collect_routes(self) -> dict[RouteSignature, Any]:
        return {
            RouteSignature("/"): self.tell,
            RouteSignature("/talk", is_websocket=True): self.talk,
        }

    async def tell(self, request: Request) -> str:
        assert request.client is not None
        return request.client.host

    async def talk(self, websocket: WebSocket) -> None:
        await websocket.accept()
        assert websocket.client is not None
        await websocket.send_text(websocket.client.host)
        await websocket.close()


class Front:
    """Accepts connections, as the process does that others connect to, and gives them away."""

    def __init__(self, name: str, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.2", 0))
        self._service = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._service.connect(f"\0{name}-{port}")

    def give(self) -> socket.socket:
        """Return a connection of which the service has the other end."""
        client = socket.create_connection(
            self._listener.getsockname(), PATIENCE, source_address=("127.0.0.3", 0)
        )
        accepted, _ = self._listener.accept()
        with accepted:
            self.give_file(accepted.fileno())
        return client

    def give_file(self, descriptor: int) -> None:
        socket.send_fds(self._service, [b"+"], [descriptor])

    def close(self) -> None:
        self._listener.close()
        self._service.close()


async def ask(connection: socket.socket) -> bytes:
    """Send a request, and return the response up to its end."""
    connection.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=connection)
    lines = ("POST / HTTP/1.1", "Host: a", "Content-Length: 0", "Connection: close", "", "")
    writer.write("\r\n".join(lines).encode())
    response = await reader.read()
    writer.close()
    return response


def test_handed_connections_are_served_until_the_service_drains(monkeypatch: Any) -> None:
    """
    Requests and websockets on them come from this machine, as those do that are passed on;
    what is no connection is closed, and harms nobody.
    """
    name = f"fal-core-test-{os.urandom(8).hex()}"
    told: list[dict[str, str]] = []

    async def main() -> None:
        ready = asyncio.Event()

        def announce(urls: dict[str, str]) -> None:
            told.append(urls)
            ready.set()

        output = types.SimpleNamespace(write=lambda *line: print(line))
        runtime: Any = types.SimpleNamespace(address=None, announce=announce, output=output)
        monkeypatch.setattr(current, "runtime", runtime)
        monkeypatch.setenv("FAL_CORE_CONNECTIONS", name)
        service = RunningService(Answering(), ServiceSettings(), port=0, metrics_port=0)
        running = asyncio.ensure_future(service.run())
        waiting = asyncio.ensure_future(ready.wait())
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        port = int(told[0]["run"].rpartition(":")[2])
        front = Front(name, port)
        try:
            with open(os.devnull, "rb") as null:
                front.give_file(null.fileno())
            assert (await ask(front.give())).endswith(b'\r\n\r\n"127.0.0.1"')
            connection = front.give()
            connection.setblocking(False)
            async with connect("ws://service/talk", sock=connection) as talk:
                assert await talk.recv() == "127.0.0.1"
        finally:
            service.drain()
            await running
        with open(os.devnull, "rb") as null, pytest.raises(ConnectionRefusedError):
            front.give_file(null.fileno())
        front.close()

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
