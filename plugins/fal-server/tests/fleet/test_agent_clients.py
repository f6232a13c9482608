"""Requests to agents: with the token of their runner, once they listen."""

from __future__ import annotations

import asyncio

import pytest
from raw_agents import OK, Agent, answering, holding, listening, run

from fal_server.fleet import runners
from fal_server.fleet.http_client import HttpClient
from fal_server.fleet.runners import AgentClient


def test_agent_is_shown_the_token():
    """Each request to an agent shows the token of its runner, which is not in the repr."""

    async def main() -> None:
        agent = Agent(holding(OK))
        async with listening(agent) as (exchanges, url):
            client = AgentClient(exchanges, "secret-token")
            client.listens_at(url)
            async with client.ask("/call") as upstream:
                assert await upstream.read() == b"fine"
            await client.ping()
            for request, path in zip(agent.requests, (b"/call", b"/ping"), strict=True):
                assert request.startswith(b"POST " + path + b" HTTP/1.1\r\n")
                assert b"x-fal-agent-token: secret-token\r\n" in request
            assert "secret-token" not in repr(client)

    run(main())


@pytest.mark.parametrize("listens", [True, False])
def test_agent_is_waited_for(listens: bool):
    """Whoever waits for an agent goes on when it listens, or when it has ended before."""

    async def main() -> None:
        client = AgentClient(HttpClient(), "")
        waiting = asyncio.ensure_future(client.wait())
        # Let it wait.
        await asyncio.sleep(0)
        assert not waiting.done()
        if listens:
            client.listens_at("http://127.0.0.1:1")
        else:
            client.close()
        assert await waiting is listens
        assert await client.wait() is listens

    run(main())


def test_agent_that_does_not_answer_a_ping(monkeypatch: pytest.MonkeyPatch):
    """An agent that accepts a ping and does not answer it hangs; one that breaks it off is gone."""
    monkeypatch.setattr(runners, "_SILENCE", 0.1)

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(1)

    async def main() -> None:
        async with listening(Agent(mute, answering(b""))) as (exchanges, url):
            client = AgentClient(exchanges, "")
            client.listens_at(url)
            with pytest.raises(asyncio.TimeoutError):
                await client.ping()
            with pytest.raises(ConnectionError):
                await client.ping()

    run(main())
