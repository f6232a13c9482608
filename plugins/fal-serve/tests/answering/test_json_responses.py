"""Responses that hold arbitrary data of a client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import msgpack
import pytest
from fastapi import Body, HTTPException, WebSocket
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from fal_serve import App, AppException, FieldException, endpoint, realtime


class Said(BaseModel):
    text: str


class Held(BaseModel):
    value: Any


class Echo(App, kind="current"):
    @endpoint("/model")
    def model(self, said: Said) -> Said:
        return said

    @endpoint("/held")
    async def held(self, held: Held) -> Held:
        return held

    @endpoint("/dict")
    async def dictionary(self, value: dict[str, Any]) -> dict[str, Any]:
        return value

    @endpoint("/list")
    def listed(self, value: Annotated[list[Any], Body()]) -> list[Any]:
        return value

    @endpoint("/untyped")
    def untyped(self, value: Annotated[Any, Body()]):
        return value

    @endpoint("/text")
    async def text(self, said: Said) -> str:
        return said.text

    @endpoint("/together", max_batch_size=4)
    def together(self, *said: Said) -> list[Said]:
        return list(said)

    @endpoint("/stream")
    def stream(self, value: Annotated[Any, Body()]) -> Iterator[Any]:
        yield value
        yield Held(value=value)

    @endpoint("/refuse/{how}")
    def refuse(self, how: str, said: Said) -> None:
        errors = {
            "app": AppException(said.text, 409),
            "field": FieldException("text", said.text),
            "http": HTTPException(409, said.text),
            "missing": HTTPException(404, said.text),
        }
        raise errors[how]

    @endpoint("/socket", is_websocket=True)
    async def socket(self, websocket: WebSocket) -> None:
        await websocket.accept()
        raise AppException(json.loads(await websocket.receive_text()), 400)

    @realtime("/realtime", decode_message=json.loads)
    async def realtime(self, message):
        return message


@pytest.fixture(scope="module")
def served(serve):
    return serve(Echo)


def send(served: Any, path: str, body: bytes) -> Any:
    return served.client.post(path, content=body, headers={"content-type": "application/json"})


@pytest.mark.parametrize(
    "path", ["/model", "/dict", "/untyped", "/together", "/stream", "/text"]
)
def test_text_that_is_half_of_a_pair_comes_back(served, path: str):
    """A lone surrogate, which JSON can escape, comes back."""
    answer = send(served, path, b'{"text": "a\\ud83d"}')
    assert answer.status_code == 200
    assert b"a\\ud83d" in answer.content


@pytest.mark.parametrize("how", ["app", "field", "http", "missing"])
def test_error_of_a_handler_may_hold_any_text(served, how: str):
    """An error with arbitrary text keeps its status."""
    answer = send(served, f"/refuse/{how}", b'{"text": "a\\ud83d"}')
    assert answer.status_code in (404, 409, 422)
    assert b"a\\ud83d" in answer.content


#: Halves of pairs among other characters, often.
TEXT = st.text(st.sampled_from("a\u00e4\n\U0001f600\ud83d\udc00") | st.characters(), max_size=5)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from([float("nan"), float("inf"), -float("inf")])
    | TEXT,
    # FastAPI leaves out keys with the prefix of SQLAlchemy's own attributes.
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(TEXT.filter(lambda key: key[:3] != "_sa"), inner, max_size=3)
    ),
    max_leaves=8,
)


@example(value={"\ud800": None}, path="/held")
@example(value={"\ud800": None}, path="/stream")
@given(value=JSON, path=st.sampled_from(["/dict", "/held", "/list", "/untyped", "/stream"]))
@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_value_comes_back_as_json(served, value: Any, path: str):
    """Any JSON that a client sends comes back as JSON."""
    sent: Any = {"/dict": {"value": value}, "/held": {"value": value}, "/list": [value]}
    sent = sent.get(path, value)
    body = json.dumps(sent)
    answer = send(served, path, body.encode())
    assert answer.status_code == 200, answer.text
    text = answer.content.decode()
    if path == "/stream":
        text = text.split("\n")[0].removeprefix("data: ")
    got = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    # Two halves that come together are one character once they are read.
    assert got == finite(json.loads(body))


def finite(value: Any) -> Any:
    if isinstance(value, list):
        return [finite(each) for each in value]
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    is_number = isinstance(value, float) and value - value == 0
    return value if is_number or not isinstance(value, float) else None


@pytest.mark.parametrize("path", ["/list", "/untyped"])
def test_deep_lists_come_back(served, path: str):
    """Data that is not too deep to be read is not too deep to be sent back."""
    body = b"[" * 400 + b"]" * 400
    answer = send(served, path, body)
    assert (answer.status_code, answer.content) == (200, body)


def test_realtime_message_may_hold_any_text(served):
    """A lone surrogate made by a codec is sent as its escape in msgpack."""
    with connect(f"ws{served.url[4:]}/realtime") as connection:
        connection.send('{"te\\ud83dxt": "a\\ud83d"}')
        assert msgpack.unpackb(connection.recv(60)) == {"te\\ud83dxt": "a\\ud83d"}


def test_websocket_is_closed_with_any_reason(served):
    """The reason of a close may contain a lone surrogate, which is escaped."""
    with connect(f"ws{served.url[4:]}/socket") as connection:
        connection.send('"a\\ud83d"')
        with pytest.raises(ConnectionClosed) as caught:
            connection.recv(60)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.reason == "a\\ud83d"
