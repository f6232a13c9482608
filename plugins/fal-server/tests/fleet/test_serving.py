"""
Serving: runners that are asked to serve an application.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from bare_runners import make_runner, until

from fal_core.errors import StartupTimeout
from fal_core.events import Ready
from fal_server.errors import NotFound
from fal_server.fleet import serving
from fal_server.fleet.http_client import HttpClient
from fal_server.fleet.serving import serve
from fal_server.fleet.states import RunnerPhase
from fal_server.specs.runner_specs import Message
from fal_server_agent.messages import pack


@pytest.mark.parametrize("error", [NotFound("It is gone."), OSError("No room.")])
def test_runner_that_does_not_receive_its_function_is_ended(plane, error):
    """
    Any failure before a runner has received its function ends the runner, and waiting
    requests fail.
    """

    async def load() -> Message:
        raise error

    async def main() -> None:
        async with aclosing(HttpClient()) as exchanges:
            runner = make_runner(plane, exchanges)
            serve(runner, load)
            runner.take(Ready({"control": "http://127.0.0.1:1"}))
            await until(lambda: runner.state is RunnerPhase.GIVEN_UP)
            assert runner.reason

    plane.run(main())


def test_runner_of_an_earlier_version_that_does_not_come_up(plane, monkeypatch):
    """
    After a restart of the server, a runner whose agent reports no url, as agents of earlier
    versions do, is ended if its host has none either.
    """
    monkeypatch.setattr(serving, "_LONGEST_START", 0.2)

    async def load() -> Message:
        return {}, []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        message = pack({"serving": True})
        head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
        writer.write(head + len(message).to_bytes(8, "little") + message)
        writer.close()

    async def main() -> None:
        agent = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = agent.sockets[0].getsockname()[1]
        async with agent, aclosing(HttpClient()) as exchanges:
            told, mute = (make_runner(plane, exchanges) for _ in range(2))
            for runner in (told, mute):
                serve(runner, load)
                runner.take(Ready({"control": f"http://127.0.0.1:{port}"}))
            told.take(Ready({"run": "http://127.0.0.1:1"}))
            await until(lambda: mute.state is RunnerPhase.GIVEN_UP)
            assert isinstance(mute.cause, StartupTimeout)
            assert told.state is RunnerPhase.RUNNING

    plane.run(main())
