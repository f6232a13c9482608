"""Clients of applications."""

from __future__ import annotations

import asyncio
import inspect
import socket

import pytest
from client_examples import Answer, Everything, Prompt

from fal_serve import App, AppClient, AppClientError, AsyncAppClient, endpoint
from fal_serve.client.clients import credentials


def test_methods_have_the_signature_of_their_handlers(client):
    """``inspect.signature`` and ``dir`` work on methods and clients."""
    assert str(inspect.signature(client.mixed)).startswith("(prompt: ")
    assert {"model", "talk", "count"} <= set(dir(client))
    with pytest.raises(AttributeError, match=r"'modle'.*It has: .*model"):
        _ = client.modle
    with pytest.raises(TypeError, match=r"model.*missing"):
        client.model()


def test_endpoints_may_have_names_of_the_clients_own(client):
    """Endpoints named like attributes of the client are called by their name in brackets."""
    assert client["close"]() == "closed by its endpoint"
    assert client["model"](Prompt(text="a")) == client.model(Prompt(text="a"))
    with client["connect"]() as session:
        assert session(Prompt(text="a")).text == "a"
    with pytest.raises(KeyError, match="no endpoint 'nothing'"):
        client["nothing"]


def test_a_service_that_is_not_there_is_one_error():
    """If the service cannot be reached, every call raises the client's error with the URL."""
    with socket.socket() as unused:
        # It is had, and nobody listens.
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with AppClient(Everything, url) as client:
            for ask in (
                lambda: client.two(Prompt(text="a")),
                lambda: list(client.count(1)),
                client.health,
                lambda: client.talk().__enter__(),
            ):
                with pytest.raises(
                    AppClientError, match=r"127\.0\.0\.1:\d+.* cannot be reached"
                ):
                    ask()

        async def ask_asynchronously() -> None:
            async with AsyncAppClient(Everything, url) as client:
                with pytest.raises(AppClientError, match="cannot be reached"):
                    await client.two(Prompt(text="a"))
                with pytest.raises(AppClientError, match="cannot be reached"):
                    await client.talk().__aenter__()

        asyncio.run(ask_asynchronously())


def test_a_client_is_of_an_application():
    """Anything but a class of application is refused in one sentence."""
    with pytest.raises(TypeError, match=r"a subclass of App, and was given <class 'int'>\."):
        AppClient(int, "http://127.0.0.1:1")


def test_health_is_asked_for(client):
    """``health`` returns the body of the health endpoint."""
    assert client.health() == {"version": "7"}


def test_the_same_without_waiting(client):
    """The async client does the same in an event loop."""

    async def use() -> list[object]:
        async with AsyncAppClient(Everything, client.url) as asynchronous:
            answers = await asyncio.gather(
                *(asynchronous.together(Prompt(text=str(number))) for number in range(8))
            )
            found: list[object] = [[answer.text for answer in answers]]
            found.append([item.text async for item in asynchronous.count(2)])
            async with asynchronous.talk() as session:
                found.append((await session(Prompt(text="xy"))).text)
            with pytest.raises(AppClientError):
                await asynchronous.refused()
            found.append(await asynchronous.health())
        return found

    assert asyncio.run(use()) == [list("01234567"), ["0", "1"], "yx", {"version": "7"}]


def test_an_asynchronous_client_spawns_too():
    """``connect`` of the async client spawns the application and ends it."""

    async def use() -> Answer:
        async with AsyncAppClient.connect(Everything) as asynchronous:
            answer: Answer = await asynchronous.model(Prompt(text="spawned"))
            return answer

    assert asyncio.run(use()) == Answer(text="spawned")


class Printing(App, kind="current"):
    @endpoint("/")
    def say(self, text: str) -> str:
        print("said", text)
        return text


def test_output_of_the_application_is_printed_without_its_access_log(capsys):
    """A program that connects has the lines of handlers in its output, and no other lines."""

    async def use() -> None:
        async with AsyncAppClient.connect(Printing) as client:
            await client.say(text="later")

    with AppClient.connect(Printing) as client:
        client.say(text="now")
    asyncio.run(use())

    assert capsys.readouterr().out.splitlines() == ["said now", "said later"]


def test_a_key_is_sent_over_encrypted_connections_alone(monkeypatch):
    """The key in the environment is never sent over unencrypted connections."""
    monkeypatch.setenv("FAL_KEY", "id:secret")

    assert credentials("https://example.org/app") == {"authorization": "Key id:secret"}
    assert credentials("http://127.0.0.1:1234") == {"authorization": "Key id:secret"}
    assert credentials("http://example.org/app") == {}
