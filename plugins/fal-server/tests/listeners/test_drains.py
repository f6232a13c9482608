"""Drains: how long requests have to finish when a server ends."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.web_request import BaseRequest
from polling import PATIENCE

from fal_server.listeners.doors import Doors
from fal_server.listeners.drains import Drain
from fal_server.listeners.http_connections import begin
from fal_server.settings import ServerSettings
from fal_server.state.data_directories import DataDirectory

#: Seconds that requests have to finish, and those that a busy machine takes beyond them.
SECONDS, SLACK = 4.0, 2.5


@pytest.mark.parametrize("seconds", [SECONDS, 0.0], ids=["some", "none"])
def test_requests_at_all_ports_have_the_same_time(tmp_path: Path, seconds: float):
    """
    Of the requests at several ports those are answered that finish in the time for all of
    them, and the others are broken off at its end.
    """
    broken: list[str] = []

    async def answer(request: BaseRequest) -> web.Response:
        begin(request)
        began.release()
        try:
            await asyncio.sleep(seconds / 2 if request.path == "/short" else 600)
        except asyncio.CancelledError:
            broken.append(request.path)
            raise
        return web.Response(text="finished")

    async def ask(port: int, path: str) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        received = await reader.read()
        writer.close()
        return received

    async def main() -> None:
        nonlocal began
        began = asyncio.Semaphore(0)
        ends, drain = contextlib.AsyncExitStack(), Drain(seconds)
        settings = ServerSettings(data=tmp_path / "data", port=0)
        doors = Doors.create(settings, DataDirectory(settings.data), {}, ends)
        application = web.Application()
        application.router.add_get("/{path}", answer)
        factories = [await doors.start_http(application, ends, drain)]
        factories += [doors.start_gateway(web.Server(answer), ends, drain) for _ in range(3)]
        loop, asked = asyncio.get_running_loop(), []
        for factory in factories:
            listener = await loop.create_server(factory, "127.0.0.1", 0)
            ends.callback(listener.close)
            port = listener.sockets[0].getsockname()[1]
            asked += [asyncio.create_task(ask(port, path)) for path in ("short", "long")]
        for _ in asked:
            await began.acquire()
        started = time.monotonic()
        await ends.aclose()
        taken = time.monotonic() - started
        assert taken < seconds + SLACK
        answers = await asyncio.gather(*asked)
        for path, received in zip(("short", "long") * 4, answers, strict=True):
            is_answered = received.endswith(b"finished")
            assert is_answered == (path == "short"), received
        assert sorted(broken) == ["/long"] * 4

    began = asyncio.Semaphore(0)
    asyncio.run(main())


def test_connections_without_a_request_are_not_waited_for(tmp_path: Path):
    """A connection that is kept open for its next request holds up no end."""

    async def answer(request: BaseRequest) -> web.Response:
        begin(request)
        return web.Response(text="answered")

    async def main() -> None:
        ends, drain = contextlib.AsyncExitStack(), Drain(600.0)
        settings = ServerSettings(data=tmp_path / "data", port=0)
        doors = Doors.create(settings, DataDirectory(settings.data), {}, ends)
        application = web.Application()
        application.router.add_get("/", answer)
        factories = [
            await doors.start_http(application, ends, drain),
            doors.start_gateway(web.Server(answer), ends, drain),
        ]
        readers = []
        for factory in factories:
            listener = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
            ends.callback(listener.close)
            port = listener.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await reader.readuntil(b"answered")
            readers.append((reader, writer))
        await asyncio.wait_for(ends.aclose(), PATIENCE)
        for reader, writer in readers:
            assert await reader.read() == b""
            writer.close()

    asyncio.run(main())
