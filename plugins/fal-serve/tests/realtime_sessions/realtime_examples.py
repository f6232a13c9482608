"""An application with realtime endpoints of every kind, and how tests talk to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgpack
import numpy
from pydantic import BaseModel
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

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


class Gated(App, kind="current"):
    """An application whose handlers wait at a gate, and note what they have seen."""

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


class Realtime(Gated):
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

    @realtime("/leading", buffering=10, max_batch_size=4)
    async def leading(self, input: In, *inputs: In) -> dict:
        taken = [each.x for each in (input, *inputs)]
        self.seen.append(taken)
        await self.gate.wait()
        return {"taken": taken}

    @realtime("/leading-all", max_batch_size=3, emit_timings=True)
    async def leading_all(self, input: Paired, *inputs: Paired) -> dict:
        if input.number < 0:
            self.seen.append(input.number)
            await self.gate.wait()
        return {"taken": [each.number for each in (input, *inputs)]}

    @realtime("/buffered-stream", buffering=10)
    async def buffered_stream(self, input: In) -> AsyncIterator[Out]:
        for number in range(input.x):
            yield Out(y=number)

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


def send(socket: ClientConnection, *messages: Any) -> None:
    """Send messages as msgpack."""
    for each in messages:
        socket.send(msgpack.packb(each))


def take(socket: ClientConnection, count: int, timeout: float = 60) -> list[Any]:
    """Return the next messages; those about the session are text."""
    frames = [socket.recv(timeout=timeout) for _ in range(count)]
    return [json.loads(e) if isinstance(e, str) else msgpack.unpackb(e) for e in frames]


def take_all(socket: ClientConnection, code: int = 1000) -> list[Any]:
    """Return the messages until the service closes the connection, with *code*."""
    found = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            found += take(socket, 1)
    assert socket.close_code == code
    return found


def error(name: str, reason: str) -> dict[str, str]:
    """Return the last message of a session that failed."""
    return {"type": "x-fal-error", "error": name, "reason": reason}


def ask(socket: ClientConnection, message: Any) -> Any:
    """Send a message and return its output."""
    send(socket, message)
    return take(socket, 1)[0]
