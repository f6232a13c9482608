"""The client's end of websocket endpoints."""

from __future__ import annotations

import asyncio

import pytest
from client_examples import Answer, Everything, Prompt

from fal_serve import App, AppClient, AppClientError, AsyncAppClient
from fal_serve import realtime as realtime_endpoint


def test_a_websocket_has_text_and_bytes(client):
    """A websocket endpoint sends and receives plain text and bytes."""
    with client.socket(name="a b", loud=True) as socket:
        assert socket.receive() == "A B"
        socket.send(b"\xff")
        assert socket.receive(60) == b"\xff"
        socket.send("text")
        assert list(socket) == ["text"]
        with pytest.raises(EOFError):
            socket.send("more")


def test_a_parameter_that_is_none_is_left_out(client):
    """A parameter of a websocket that is None has its default, as in other calls."""
    with client.socket(name="c?d", loud=None) as socket:
        assert socket.receive(60) == "c?d"


def test_a_websocket_without_waiting(client):
    """The async client has websockets as well."""

    async def talk() -> list[str | bytes]:
        async with (
            AsyncAppClient(Everything, client.url) as other,
            other.socket(name="here") as socket,
        ):
            first = await socket.receive()
            await socket.send(b"1")
            await socket.send("2")
            return [first, *[each async for each in socket]]

    assert asyncio.run(talk()) == ["here", b"1", "2"]


def test_a_session_that_is_refused_has_its_status(client):
    """If a session is refused, the error has the status of the response."""

    class Other(App, kind="current"):
        @realtime_endpoint("/nowhere")
        def talk(self, prompt: Prompt) -> Answer: ...

    with AppClient(Other, client.url) as other, pytest.raises(AppClientError) as caught:
        other.talk().__enter__()
    assert caught.value.status_code == 404
    assert "Path /nowhere does not exist." in str(caught.value)
