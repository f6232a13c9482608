"""Services at Unix sockets, as a control plane on the same machine has them listen."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
from fastapi import Request, WebSocket
from websockets.asyncio.client import unix_connect

from fal_core_worker import current
from fal_core_worker.serving.routes import RouteSignature
from fal_serve import BaseServable
from fal_serve.declaring.settings import ServiceSettings
from fal_serve.serving.services import RunningService

PATIENCE = 60


class Answering(BaseServable):
    """A servable that tells where its requests come from."""

    def collect_routes(self) -> dict[RouteSignature, Any]:
        return {
            RouteSignature("/"): self.tell,
            RouteSignature("/talk", is_websocket=True): self.talk,
        }

    async def tell(self, request: Request) -> list[str]:
        assert request.client is not None
        return [request.client.host, str(request.url)]

    async def talk(self, websocket: WebSocket) -> None:
        await websocket.accept()
        assert websocket.client is not None
        await websocket.send_text(f"{websocket.client.host} {await websocket.receive_text()}")
        await websocket.close()


def serve(folder: Path, use: Callable[[], Awaitable[None]], monkeypatch: Any) -> None:
    """Serve the application in *folder* for as long as *use* takes."""
    ready = asyncio.Event()
    told: list[dict[str, str]] = []

    def announce(urls: dict[str, str]) -> None:
        told.append(urls)
        ready.set()

    output = types.SimpleNamespace(write=lambda level, line: None)
    runtime: Any = types.SimpleNamespace(
        address=f"unix:{folder}", announce=announce, output=output
    )
    monkeypatch.setattr(current, "runtime", runtime)

    async def main() -> None:
        service = RunningService(Answering(), ServiceSettings(), port=0, metrics_port=0)
        running = asyncio.ensure_future(service.run())
        waiting = asyncio.ensure_future(ready.wait())
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        try:
            await use()
        finally:
            service.drain()
            await running

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
    (urls,) = told
    assert (urls["run"], urls["metrics"]) == (f"unix:{folder}/run", f"unix:{folder}/metrics")


def test_requests_websockets_and_probes_at_sockets(tmp_path: Path, monkeypatch: Any) -> None:
    """
    A service at Unix sockets answers requests, websockets and probes there, and its senders
    are on this machine.
    """

    async def use() -> None:
        for name, path, told in (
            ("run", "/", ["127.0.0.1", "http://localhost/"]),
            ("metrics", "/ready", {"ready": True}),
        ):
            transport = httpx.AsyncHTTPTransport(uds=str(tmp_path / name))
            async with httpx.AsyncClient(transport=transport, timeout=PATIENCE) as client:
                method = "POST" if name == "run" else "GET"
                answer = await client.request(method, f"http://localhost{path}")
                assert answer.json() == told
        async with unix_connect(str(tmp_path / "run"), "ws://localhost/talk") as talk:
            await talk.send("hello")
            assert await talk.recv() == "127.0.0.1 hello"

    serve(tmp_path, use, monkeypatch)
