"""
Sessions of realtime endpoints: messages, modes, batches, buffers and errors.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import msgpack
import numpy
import pytest
from pydantic import BaseModel
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from fal_core.testing.harness.processes import wait_until
from fal_serve import App, AppException, FieldException, endpoint, realtime


class In(BaseModel):
    x: int


class Out(BaseModel):
    y: int
    data: bytes = b""


class Paired(BaseModel):
    number: int

    def can_batch(self, other: Paired, size: int) -> bool:
        return other.number % 2 == self.number % 2


def to_json(message: Any) -> bytes:
    return json.dumps(message).encode()


class Realtime(App, kind="current"):
    def setup(self) -> None:
        self.gate = asyncio.Event()
        self.seen: list[Any] = []

    @endpoint("/open")
    async def open_gate(self) -> None:
        self.gate.set()
        self.gate = asyncio.Event()

    @endpoint("/seen")
    async def tell_seen(self) -> list[Any]:
        return self.seen

    @realtime("/echo")
    async def echo(self, message):
        return message

    @realtime("/model")
    async def model(self, input: In) -> Out:
        return Out(y=input.x + 1, data=b"\xff")

    @realtime("/sync", emit_timings=True)
    def sync(self, input: In) -> Out:
        # The least that its timing must be.
        time.sleep(0.01)
        return Out(
            y=input.x, data=str(threading.current_thread() is threading.main_thread()).encode()
        )

    @realtime("/count")
    def count(self, input: In) -> Iterator[Out]:
        for number in range(input.x):
            yield Out(y=number)

    @realtime("/later", emit_timings=True)
    async def later(self, input: In) -> AsyncIterator[Out]:
        for number in range(input.x):
            yield Out(y=number)

    @realtime("/list")
    async def listed(self, input: In) -> Iterator[dict]:
        return iter([{"y": input.x}])

    @realtime("/total", session_timeout=3.5)
    async def total(self, inputs: AsyncIterator[In]) -> Out:
        return Out(y=sum([each.x async for each in inputs]))

    @realtime("/both", session_timeout=60)
    async def both(self, inputs: AsyncIterator[In]) -> AsyncIterator[Out]:
        async for each in inputs:
            yield Out(y=each.x)
            yield Out(y=-each.x)

    @realtime("/json", encode_message=to_json, decode_message=json.loads, input_modal=In)
    async def as_json(self, input):
        return {"x": input.x}

    @realtime("/text", encode_message=json.dumps, decode_message=json.loads)
    async def as_text(self, input):
        return input

    @realtime("/array")
    async def array(self, image: numpy.ndarray) -> numpy.ndarray:
        return image.T

    @realtime("/newest", buffering=2)
    async def newest(self, input: In) -> Out:
        self.seen.append(input.x)
        await self.gate.wait()
        return Out(y=input.x)

    @realtime("/idle", session_timeout=3.5)
    async def idle(self, input: In) -> Out:
        await asyncio.sleep(input.x / 10)
        return Out(y=input.x)

    @realtime("/batch", max_batch_size=4, emit_timings=True)
    async def batch(self, *inputs: In) -> list[Any]:
        await self.gate.wait()
        refused = AppException("thirteen", 418)
        return [
            refused if each.x == 13 else Out(y=100 * len(inputs) + each.x) for each in inputs
        ]

    @realtime("/threads", max_batch_size=8)
    def threads(self, *inputs: In) -> list[dict]:
        return [{"y": each.x} for each in inputs]

    @realtime("/pairs", max_batch_size=4, batch_wait=3)
    def pairs(self, *inputs: Paired) -> list[dict]:
        return [{"y": [one.number for one in inputs]} for _ in inputs]

    @realtime("/dropping", max_batch_size=1, buffering=1)
    async def dropping(self, *inputs: In) -> list[Out]:
        self.seen.extend(each.x for each in inputs)
        await self.gate.wait()
        return [Out(y=each.x) for each in inputs]

    @realtime("/fail")
    async def fail(self, message: dict) -> Any:
        errors = {
            "app": AppException("no such bench", 404),
            "field": FieldException("seed", "is odd"),
            "exit": SystemExit(3),
            "gpu": RuntimeError("CUDA error: device-side assert triggered"),
            "cancelled": asyncio.CancelledError(),
        }
        if message["how"] == "output":
            return {"value": object()}
        print("working at", message["how"])
        raise errors.get(message["how"]) or LookupError("the secret")


@pytest.fixture(scope="module")
def served(serve: Callable[[Any], Any]) -> Any:
    return serve(Realtime)


@pytest.fixture
def dial(served: Any) -> Callable[[str], AbstractContextManager[ClientConnection]]:
    """
    Connect to a path of the service.
    """
    url = served.url.replace("http://", "ws://")
    return lambda path: connect(url + path, max_size=None)


def send(socket: ClientConnection, *messages: Any) -> None:
    """
    Send messages as msgpack.
    """
    for each in messages:
        socket.send(msgpack.packb(each))


def take(socket: ClientConnection, count: int, timeout: float = 60) -> list[Any]:
    """
    Return the next messages; those about the session are text.
    """
    frames = [socket.recv(timeout=timeout) for _ in range(count)]
    return [json.loads(e) if isinstance(e, str) else msgpack.unpackb(e) for e in frames]


def take_all(socket: ClientConnection, code: int = 1000) -> list[Any]:
    """
    Return the messages until the service closes the connection, with *code*.
    """
    found = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            found += take(socket, 1)
    assert socket.close_code == code
    return found


def error(name: str, reason: str) -> dict[str, str]:
    """
    Return the last message of a session that failed.
    """
    return {"type": "x-fal-error", "error": name, "reason": reason}


def ask(socket: ClientConnection, message: Any) -> Any:
    """
    Send a message and return its output.
    """
    send(socket, message)
    return take(socket, 1)[0]


def test_each_message_is_answered_in_order(dial) -> None:
    """
    A client may send many messages before it reads the first output.
    """
    messages = [{"number": each, "bytes": b"\x00\xff", "text": "ü"} for each in range(500)]
    with dial("/echo") as socket:
        send(socket, *messages)
        assert take(socket, 500) == messages


def test_large_message_is_answered(dial) -> None:
    """
    A message may have megabytes.
    """
    with dial("/echo") as socket:
        assert ask(socket, bytes(8_000_000)) == bytes(8_000_000)


def test_models_are_made_and_dumped(dial) -> None:
    """
    A handler receives its annotated type, and the client the fields of a model.
    """
    with dial("/model") as socket:
        assert ask(socket, {"x": "41"}) == {"y": 42, "data": b"\xff"}


def test_handler_that_is_not_async_runs_on_a_thread(dial) -> None:
    """
    A plain handler runs on a thread; timings follow each output, as JSON text.
    """
    with dial("/sync") as socket:
        send(socket, {"x": 1}, {"x": 2})
        first, timing, second, _ = take(socket, 4)
    assert first == {"y": 1, "data": b"False"}
    assert second["y"] == 2
    assert timing.keys() == {"type", "action", "timing"}
    assert (timing["type"], timing["action"]) == ("x-fal-message", "timings")
    assert timing["timing"] >= 0.01


@pytest.mark.parametrize("path", ["/count", "/later"])
def test_generator_streams_its_items(dial, path: str) -> None:
    """
    One input gets an output for each item, and then the session ends.
    """
    with dial(path) as socket:
        send(socket, {"x": 3}, {"x": 9})
        found = take_all(socket)
    assert [each["y"] for each in found[:3]] == [0, 1, 2]
    timings = [each["action"] for each in found[3:]]
    assert timings == (["timings"] if path == "/later" else [])


def test_iterator_that_is_returned_is_streamed(dial) -> None:
    """
    A handler that returns an iterator streams too.
    """
    with dial("/list") as socket:
        send(socket, {"x": 3})
        assert take_all(socket) == [{"y": 3}]


def test_stream_of_inputs_ends_when_no_more_come(dial) -> None:
    """
    When the session is idle, the handler returns its output, and the client gets the reason.
    """
    with dial("/total") as socket:
        send(socket, {"x": 3}, {"x": 4})
        answer, last = take_all(socket)
    assert answer["y"] == 7
    assert last == error("TIMEOUT", "There was no input for 3.5 s.")


def test_streams_go_both_ways(dial) -> None:
    """
    Outputs arrive while inputs are sent.
    """
    with dial("/both") as socket:
        send(socket, {"x": 3})
        assert [each["y"] for each in take(socket, 2)] == [3, -3]
        send(socket, {"x": 4})
        assert [each["y"] for each in take(socket, 2)] == [4, -4]


def test_codec_of_the_users_is_used(dial) -> None:
    """
    A custom codec is used in both directions. It gets text frames as bytes, and may return
    text.
    """
    with dial("/json") as socket:
        for sent in (b'{"x": 1}', '{"x": 1}'):
            socket.send(sent)
            assert socket.recv(timeout=60) == b'{"x": 1}'
        socket.send(b"{")
        (last,) = take_all(socket, 1007)
        assert last["error"] == "INVALID_MESSAGE"
    with dial("/text") as socket:
        socket.send('{"x": "ü"}')
        assert socket.recv(timeout=60) == '{"x": "\\u00fc"}'


def test_arrays_are_messages(dial) -> None:
    """
    An array is a map that any client can read and write.
    """
    sent = {"__ndarray__": "<i2", "shape": [2, 3], "data": bytes(range(12))}
    with dial("/array") as socket:
        found = ask(socket, sent)
    assert (found["__ndarray__"], found["shape"]) == ("<i2", [3, 2])
    shown = numpy.frombuffer(found["data"], "<i2").reshape(3, 2)
    assert shown.T.tobytes() == sent["data"]


def wait_for(served: Any, *expected: Any) -> None:
    """
    Wait until the handlers have recorded *expected*.
    """
    assert wait_until(lambda: served.post("/seen").json() == list(expected), 60), served.post(
        "/seen"
    ).json()


@pytest.mark.parametrize("path", ["/newest", "/dropping"])
def test_oldest_of_too_many_inputs_is_dropped(serve, path: str) -> None:
    """
    The handler continues with the newest inputs, after the one it has begun.
    """
    kept = {"/newest": [8, 9], "/dropping": [9]}[path]
    served = serve(Realtime)
    with connect(served.url.replace("http", "ws") + path) as socket:
        send(socket, {"x": 0})
        wait_for(served, 0)
        send(socket, *({"x": each} for each in range(1, 10)))
        # The inputs have been read when a pong comes, which is answered after them.
        assert socket.ping().wait(60)
        # The session takes them out of the connection's queue one by one.
        time.sleep(0.1)
        for each in (0, *kept):
            served.post("/open")
            assert take(socket, 1)[0]["y"] == each
    wait_for(served, 0, *kept)


def test_session_ends_when_it_is_idle(dial) -> None:
    """
    The timeout does not count the time of the handler.
    """
    with dial("/idle") as socket:
        assert ask(socket, {"x": 38})["y"] == 38
        assert take_all(socket) == [error("TIMEOUT", "There was no input for 3.5 s.")]


def take_opening(served: Any, socket: ClientConnection, count: int) -> list[Any]:
    """
    Return the next messages, opening the gate for the handlers until they have come.
    """
    found: list[Any] = []
    until = time.monotonic() + 60
    while len(found) < count:
        assert time.monotonic() < until, found
        served.post("/open")
        with contextlib.suppress(TimeoutError):
            frame = socket.recv(timeout=0.05)
            found.append(
                json.loads(frame) if isinstance(frame, str) else msgpack.unpackb(frame)
            )
    return found


def test_batches_are_across_sessions_and_answers_in_order(served, dial) -> None:
    """
    A batch has inputs of several sessions; each session gets its own outputs in order.
    """
    with dial("/batch") as one, dial("/batch") as other:
        send(one, {"x": 1})
        send(one, {"x": 2}, {"x": 3})
        send(other, {"x": 4}, {"x": 5})
        for socket in (one, other):
            assert socket.ping().wait(60)
        # The sessions take them out of their connections' queues one by one.
        time.sleep(0.1)
        found = [
            take_opening(served, socket, 2 * count) for socket, count in ((one, 3), (other, 2))
        ]
        timings = [each["action"] for each in (*found[0][1::2], *found[1][1::2])]
    assert timings == ["timings"] * 5
    outputs = [[each["y"] % 100 for each in part[::2]] for part in found]
    assert outputs == [[1, 2, 3], [4, 5]]
    assert max(each["y"] // 100 for part in found for each in part[::2]) > 1


def test_error_of_an_item_ends_its_session_alone(served, dial) -> None:
    """
    The other sessions of the batch get their outputs.
    """
    with dial("/batch") as one, dial("/batch") as other:
        send(one, {"x": 13})
        send(other, {"x": 1}, {"x": 2})
        until = time.monotonic() + 60
        while one.close_code is None and time.monotonic() < until:
            served.post("/open")
            # Batches go on coming, until one has ended the session.
            time.sleep(0.01)
        assert take_all(one, 1008) == [error("IM_A_TEAPOT", "thirteen")]
        found = take_opening(served, other, 4)
        assert [each["y"] % 100 for each in found[::2]] == [1, 2]


def test_many_batches_of_many_sessions_are_answered_in_order(dial) -> None:
    """
    Outputs keep their order while every session sends as fast as it can.
    """
    numbers = [{"x": each} for each in range(300)]
    with dial("/threads") as one, dial("/threads") as other:
        for socket in (one, other):
            send(socket, *numbers)
        for socket in (one, other):
            assert [each["y"] for each in take(socket, 300)] == list(range(300))


def test_inputs_say_what_they_go_with(dial) -> None:
    """
    ``can_batch`` of the first input of a batch decides.
    """
    with dial("/pairs") as socket:
        send(socket, *({"number": each} for each in (1, 3, 4, 6)))
        assert [each["y"] for each in take(socket, 4)] == [[1, 3], [1, 3], [4, 6], [4, 6]]


@pytest.mark.parametrize(
    ("how", "name", "reason", "code"),
    [
        ("app", "NOT_FOUND", "no such bench", 1008),
        ("field", "VALIDATION_ERROR", "seed: is odd", 1008),
        ("gpu", "SERVICE_UNAVAILABLE", "GPU error", 1011),
        ("output", "INTERNAL_ERROR", "Internal Server Error", 1011),
        ("lookup", "INTERNAL_ERROR", "Internal Server Error", 1011),
        ("exit", "INTERNAL_ERROR", "Internal Server Error", 1011),
    ],
)
def test_error_of_the_handler_is_told_and_ends_the_session(
    dial, how: str, name: str, reason: str, code: int
) -> None:
    """
    An exception meant for the client is sent to it; of any other, only that the handler
    failed. The close code shows who is at fault.
    """
    with dial("/fail") as socket:
        send(socket, {"how": how})
        assert take_all(socket, code) == [error(name, reason)]


def test_error_is_in_the_log_with_the_request(served) -> None:
    """
    The traceback is a line of JSON with the request id, as printed lines have it.
    """
    url = served.url.replace("http", "ws") + "/fail"
    headers = {"x-fal-request-id": "that-one"}
    with connect(url, additional_headers=headers) as socket:
        send(socket, {"how": "key"})
        take_all(socket, 1011)
    assert served.find_line("working at key").request_id == "that-one"
    while True:
        line = json.loads(served.find_line('"traceback": "').message)
        if line.get("request_id") == "that-one":
            break
        served.lines.clear()
    assert "LookupError: the secret" in line["traceback"]
    assert "in fail" in line["traceback"]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({}, "x: Field required"),
        ({"x": "no"}, "x: Input should be a valid integer"),
        (7, "Input should be a valid dictionary"),
    ],
)
def test_wrong_field_is_named(dial, message: Any, reason: str) -> None:
    """
    An invalid message ends the session, after the messages before it are answered.
    """
    with dial("/model") as socket:
        send(socket, {"x": 1}, message)
        # The session may have ended by now, and the last message finds it so.
        with contextlib.suppress(ConnectionClosed):
            send(socket, {"x": 3})
        answer, last = take_all(socket, 1008)
    assert answer["y"] == 2
    assert last["error"] == "VALIDATION_ERROR"
    assert last["reason"].startswith(reason)


@pytest.mark.parametrize("path", ["/model", "/newest", "/batch", "/count", "/total"])
@pytest.mark.parametrize("frame", [b"\xc1", "text", b"", b"\x81"])
def test_frame_that_is_no_message_is_refused(dial, path: str, frame: bytes | str) -> None:
    """
    In every mode, an invalid frame is reported, and ends the session.
    """
    with dial(path) as socket:
        socket.send(frame)
        (last,) = take_all(socket, 1007)
    assert last["error"] == "INVALID_MESSAGE"


def test_environment_of_its_own_has_what_is_needed(serve) -> None:
    """
    A service in a virtual environment has msgpack and all else that it needs.
    """

    class Isolated(App, kind="virtualenv"):
        @realtime("/where", max_batch_size=2)
        async def where(self, *inputs: In) -> list[dict]:
            import sys

            return [{"x": each.x, "prefix": sys.prefix} for each in inputs]

    served = serve(Isolated)
    with connect(served.url.replace("http", "ws") + "/where") as socket:
        found = ask(socket, {"x": 5})
    assert found["x"] == 5
    assert found["prefix"] != sys.prefix
