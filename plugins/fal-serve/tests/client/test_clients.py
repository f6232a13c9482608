"""
Clients of applications.
"""

from __future__ import annotations

import asyncio
import inspect
import socket
from collections.abc import AsyncIterator, Iterator

import numpy
import pytest
from fastapi import Body, Header, Response, UploadFile, WebSocket
from pydantic import BaseModel, Field
from websockets.sync.client import connect

from fal_serve import App, AppClient, AppClientError, AppException, AsyncAppClient, endpoint
from fal_serve import realtime as realtime_endpoint
from fal_serve.client.clients import credentials


class Prompt(BaseModel):
    text: str = Field(min_length=1)
    times: int = 1


class Answer(BaseModel):
    text: str
    upper: bool = False


class Everything(App, kind="current"):
    version = "7"

    @endpoint("/model")
    def model(self, prompt: Prompt) -> Answer:
        return Answer(text=prompt.text * prompt.times)

    @endpoint("/mixed")
    async def mixed(
        self, prompt: Prompt, upper: bool = False, note: str = Header("none")
    ) -> Answer:
        text = f"{prompt.text} {note}"
        return Answer(text=text.upper() if upper else text, upper=upper)

    @endpoint("/two")
    def two(self, first: Prompt, second: int = Body(2)) -> dict[str, int]:
        return {first.text: second}

    @endpoint("/upload")
    def upload(self, file: UploadFile) -> int:
        return len(file.file.read())

    @endpoint("/raw")
    def raw(self) -> Response:
        return Response(b"\x00\x01", media_type="application/octet-stream")

    @endpoint("/together", max_batch_size=4)
    def together(self, *inputs: Prompt) -> list[Answer]:
        return [Answer(text=each.text) for each in inputs]

    @endpoint("/count")
    def count(self, to: int) -> Iterator[Answer]:
        for number in range(to):
            yield Answer(text=str(number))

    @endpoint("/broken")
    async def broken(self) -> AsyncIterator[int]:
        yield 1
        raise LookupError("in the middle")

    @endpoint("/refused")
    def refused(self) -> None:
        raise AppException("not today", 418)

    @realtime_endpoint("/talk")
    def talk(self, prompt: Prompt) -> Answer:
        return Answer(text=prompt.text[::-1])

    @realtime_endpoint("/turn")
    def turn(self, array: numpy.ndarray) -> numpy.ndarray:
        return array.T

    @realtime_endpoint("/json", content_type="application/json")
    def json(self, prompt: Prompt) -> Answer:
        return Answer(text=prompt.text[::-1])

    @endpoint("/socket/{name}", is_websocket=True)
    async def socket(self, websocket: WebSocket, name: str, loud: bool = False) -> None:
        await websocket.accept()
        await websocket.send_text(name.upper() if loud else name)
        await websocket.send_bytes(await websocket.receive_bytes())
        await websocket.send_text(await websocket.receive_text())

    @endpoint("/close")
    def close(self) -> str:
        return "closed by its endpoint"

    @realtime_endpoint("/connect")
    def connect(self, prompt: Prompt) -> Answer:
        return Answer(text=prompt.text)


@pytest.fixture(scope="module")
def client():
    """
    A client of a running service.
    """
    with AppClient.connect(Everything) as client:
        yield client


def test_models_go_in_and_come_out(client):
    """
    A method takes its handler's arguments, by position or name, and returns its type.
    """
    assert client.model(Prompt(text="a", times=3)) == Answer(text="aaa")
    assert client.model(prompt={"text": "b"}) == Answer(text="b")
    assert client.two(Prompt(text="k"), 5) == {"k": 5}
    assert client.two(Prompt(text="k")) == {"k": 2}
    assert client.together(Prompt(text="one of many")) == Answer(text="one of many")


def test_arguments_stand_where_the_handler_has_them(client):
    """
    Queries, headers, files and bodies are sent as they are declared.
    """
    assert client.mixed(Prompt(text="a"), upper=True, note="b") == Answer(
        text="A B", upper=True
    )
    assert client.mixed(Prompt(text="a")) == Answer(text="a none")
    assert client.upload(b"12345") == 5
    assert client.raw() == b"\x00\x01"


def test_a_file_is_uploaded_by_its_path(client, tmp_path):
    """
    A path is uploaded as the file that it names.
    """
    (tmp_path / "file").write_bytes(b"abc")

    assert client.upload(tmp_path / "file") == 3


def test_methods_have_the_signature_of_their_handlers(client):
    """
    ``inspect.signature`` and ``dir`` work on methods and clients.
    """
    assert str(inspect.signature(client.mixed)).startswith("(prompt: ")
    assert {"model", "talk", "count"} <= set(dir(client))
    with pytest.raises(AttributeError, match=r"'modle'.*It has: .*model"):
        _ = client.modle
    with pytest.raises(TypeError, match=r"model.*missing"):
        client.model()


def test_items_of_a_stream_have_their_type(client):
    """
    The items of a generator arrive one by one, with their type.
    """
    assert list(client.count(3)) == [Answer(text=text) for text in "012"]


def test_failures_are_errors_with_their_status(client):
    """
    An error response raises an exception with its status and detail.
    """
    with pytest.raises(AppClientError, match="not today") as caught:
        client.refused()
    assert caught.value.status_code == 418

    with pytest.raises(AppClientError, match="text: String should") as caught:
        client.model({"text": ""})
    assert caught.value.status_code == 422


def test_a_stream_that_fails_raises_after_its_items(client):
    """
    The items before an error arrive, and then the error.
    """
    stream = client.broken()

    assert next(stream) == 1
    with pytest.raises(AppClientError):
        next(stream)


def test_a_session_sends_and_receives(client):
    """
    A realtime endpoint opens a session, whose outputs have their type.
    """
    with client.talk() as session:
        assert session(Prompt(text="abc")) == Answer(text="cba")
        session.send(Prompt(text="de"))
        session.send({"text": "fg"})
        assert [session.receive().text, session.receive().text] == ["ed", "gf"]


def test_a_session_has_arrays(client):
    """
    A type that the service accepts is accepted by the client too.
    """
    with client.turn() as session:
        answer = session(numpy.arange(6).reshape(2, 3))
    assert answer.tolist() == [[0, 3], [1, 4], [2, 5]]


def test_a_session_may_be_json(client):
    """
    With the content type of JSON, both ends speak JSON.
    """
    with client.json() as session:
        assert session(Prompt(text="abc")) == Answer(text="cba")
    with connect(f"ws{client.url[4:]}/json") as socket:
        socket.send('{"text": "ab"}')
        assert socket.recv(60) == b'{"text":"ba","upper":false}'
        socket.send("[" * 100_000)
        assert "INVALID_MESSAGE" in socket.recv(60)


def test_a_websocket_has_text_and_bytes(client):
    """
    A websocket endpoint sends and receives plain text and bytes.
    """
    with client.socket(name="a b", loud=True) as socket:
        assert socket.receive() == "A B"
        socket.send(b"\xff")
        assert socket.receive(60) == b"\xff"
        socket.send("text")
        assert list(socket) == ["text"]
        with pytest.raises(EOFError):
            socket.send("more")


def test_a_websocket_without_waiting(client):
    """
    The async client has websockets as well.
    """

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


def test_endpoints_may_have_names_of_the_clients_own(client):
    """
    Endpoints named like attributes of the client are called by their name in brackets.
    """
    assert client["close"]() == "closed by its endpoint"
    assert client["model"](Prompt(text="a")) == client.model(Prompt(text="a"))
    with client["connect"]() as session:
        assert session(Prompt(text="a")).text == "a"
    with pytest.raises(KeyError, match="no endpoint 'nothing'"):
        client["nothing"]


def test_a_session_that_has_ended_says_so(client):
    """
    A refused message raises its error, and later calls raise EOFError.
    """
    with client.talk() as session:
        with pytest.raises(AppClientError, match="VALIDATION_ERROR: text: "):
            session({"text": ""})
        with pytest.raises(EOFError, match="1008"):
            session.receive()
        with pytest.raises(EOFError, match="The session has ended"):
            session.send({"text": "b"})
        with pytest.raises(EOFError):
            session({"text": "c"})
        assert list(session) == []


def test_a_service_that_is_not_there_is_one_error():
    """
    If the service cannot be reached, every call raises the client's error with the URL.
    """
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


def test_a_session_that_is_refused_has_its_status(client):
    """
    If a session is refused, the error has the status of the response.
    """

    class Other(App, kind="current"):
        @realtime_endpoint("/nowhere")
        def talk(self, prompt: Prompt) -> Answer: ...

    with AppClient(Other, client.url) as other, pytest.raises(AppClientError) as caught:
        other.talk().__enter__()
    assert caught.value.status_code == 404
    assert "Path /nowhere does not exist." in str(caught.value)


def test_a_client_is_of_an_application():
    """
    Anything but a class of application is refused in one sentence.
    """
    with pytest.raises(TypeError, match=r"a subclass of App, and was given <class 'int'>\."):
        AppClient(int, "http://127.0.0.1:1")


def test_health_is_asked_for(client):
    """
    ``health`` returns the body of the health endpoint.
    """
    assert client.health() == {"version": "7"}


def test_the_same_without_waiting(client):
    """
    The async client does the same in an event loop.
    """

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
    """
    ``connect`` of the async client spawns the application and ends it.
    """

    async def use() -> Answer:
        async with AsyncAppClient.connect(Everything) as asynchronous:
            answer: Answer = await asynchronous.model(Prompt(text="spawned"))
            return answer

    assert asyncio.run(use()) == Answer(text="spawned")


def test_a_key_is_sent_over_encrypted_connections_alone(monkeypatch):
    """
    The key in the environment is never sent over unencrypted connections.
    """
    monkeypatch.setenv("FAL_KEY", "id:secret")

    assert credentials("https://example.org/app") == {"authorization": "Key id:secret"}
    assert credentials("http://127.0.0.1:1234") == {}
