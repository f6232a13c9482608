"""Listening: an application is waited for until it answers, and is healthy."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fal_core_worker.serving.ports import free_port
from fal_server_agent.networks.listening import answers
from fal_server_agent.networks.places import Connection, OpenPort


class Tried(OpenPort):
    """A place that notes when it is tried."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.tries = 0

    async def connect(self) -> Connection:
        self.tries += 1
        return await super().connect()


def wait(check: dict[str, Any] | None, *responses: bytes) -> list[bytes]:
    """
    Wait for a server that starts after it was tried, and that gives these *responses*, one
    to each connection; return the requests that it got.
    """
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(requests)
        requests.append(b"")
        if check is not None:
            requests[number] = await reader.readuntil(b"\r\n\r\n")
            writer.write(responses[min(number, len(responses) - 1)])
        writer.close()

    async def main() -> None:
        place = Tried(free_port())
        waiting = asyncio.ensure_future(answers(place, check))
        while place.tries < 2:
            # Until it was tried in vain.
            await asyncio.sleep(0.01)
        assert not waiting.done()
        async with await asyncio.start_server(serve, "127.0.0.1", place.port):
            await asyncio.wait_for(waiting, 60)

    asyncio.run(main())
    return requests


def test_server_that_starts_later():
    """Without a check, an application answers once it takes connections."""
    assert wait(None) in ([b""], [])


@pytest.mark.parametrize("path", ["/health", "health"])
def test_server_that_becomes_healthy(path: str):
    """An application is asked until it answers with a status of success."""
    check = {"path": path, "method": "POST", "timeout_seconds": 5}
    sick, broken, fine = b"HTTP/1.1 503 No\r\n\r\n", b"", b"HTTP/1.1 204 Yes\r\n\r\n"
    requests = wait(check, sick, broken, sick, fine)
    assert len(requests) == 4
    for request in requests:
        assert request.startswith(b"POST /health HTTP/1.1\r\n")
        assert b"x-fal-runner-health-check: true\r\n" in request


def test_server_that_does_not_answer_in_time():
    """An answer that takes longer than the check says is none, and the next one counts."""
    asked: list[bool] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.append(True)
        if len(asked) > 1:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            # Until the one who asks has gone.
            await reader.read()
        writer.close()

    async def main() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            place = OpenPort(server.sockets[0].getsockname()[1])
            check = {"path": "/", "timeout_seconds": 0.1}
            await asyncio.wait_for(answers(place, check), 60)

    asyncio.run(main())
    assert len(asked) == 2
