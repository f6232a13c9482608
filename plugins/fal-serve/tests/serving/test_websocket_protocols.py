"""Realtime sessions and websockets of a draining service."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import msgpack
import pytest
from fastapi import WebSocket
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from fal_serve import App, endpoint, realtime

#: Seconds that handlers work at a message, in which the service is asked to end.
WORK = 0.6

#: Seconds that a service waits for a session that is not idle, and a session for a message:
#: more than these tests wait for the end of the service.
LONG = 600


class Working(App, kind="current", termination_grace_period_seconds=LONG):
    @realtime("/unary")
    async def unary(self, message):
        print("at it", flush=True)
        await asyncio.sleep(WORK)
        return message

    @realtime("/thread")
    def thread(self, message):
        print("at it", flush=True)
        time.sleep(WORK)
        return message

    @realtime("/batch", max_batch_size=2)
    async def batch(self, *messages):
        print("at it", flush=True)
        await asyncio.sleep(WORK)
        return list(messages)

    @realtime("/buffered", buffering=3)
    async def buffered(self, message):
        print("at it", flush=True)
        await asyncio.sleep(WORK)
        return message

    @realtime("/total")
    async def total(self, messages: AsyncIterator[int]) -> int:
        total = 0
        async for each in messages:
            print("at it", flush=True)
            await asyncio.sleep(WORK)
            total += each
        return total

    @realtime("/both")
    async def both(self, messages: AsyncIterator[int]) -> AsyncIterator[int]:
        async for each in messages:
            print("at it", flush=True)
            await asyncio.sleep(WORK)
            yield each

    @realtime("/timed", session_timeout=LONG)
    async def timed(self, message):
        print("at it", flush=True)
        return message

    @endpoint("/raw", is_websocket=True)
    async def raw(self, websocket: WebSocket) -> None:
        await websocket.accept()
        while True:
            message = await websocket.receive_bytes()
            print("at it", flush=True)
            await asyncio.sleep(WORK)
            await websocket.send_bytes(message)


class Lasting(App, kind="current", termination_grace_period_seconds=0.3):
    @realtime("/forever")
    async def forever(self, message):
        print("at it", flush=True)
        # Ends by being cancelled, after the grace.
        await asyncio.sleep(3600)


@contextmanager
def dialled(served: Any, path: str) -> Iterator[ClientConnection]:
    with connect(f"ws{served.url[4:]}{path}") as connection:
        yield connection


def close_code(connection: ClientConnection) -> int:
    """Return the close code of *connection*."""
    with pytest.raises(ConnectionClosed) as caught:
        connection.recv(60)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code


PATHS = ["/unary", "/thread", "/batch", "/buffered", "/total", "/both", "/raw"]


@pytest.mark.parametrize("path", PATHS)
def test_message_in_hand_is_answered_before_the_end(serve, path: str) -> None:
    """Messages that have arrived are answered, later ones are not; the code says to reconnect."""
    served = serve(Working)
    with dialled(served, path) as connection:
        connection.send(msgpack.packb(7))
        served.find_line("at it")
        served.info.drain()
        assert connection.recv(60) == msgpack.packb(7)
        assert close_code(connection) == 1012
    assert served.info.future.result(60) is None


def test_messages_that_had_come_are_answered(serve) -> None:
    """Messages that wait behind the current one are answered too, in order."""
    served = serve(Working)
    with dialled(served, "/unary") as connection:
        for number in range(3):
            connection.send(msgpack.packb(number))
        served.find_line("at it")
        served.info.drain()
        answers = [msgpack.unpackb(connection.recv(60)) for _ in range(3)]
        assert answers == [0, 1, 2]
        assert close_code(connection) == 1012
    assert served.info.future.result(60) is None


@pytest.mark.parametrize("path", [*PATHS, "/timed"])
def test_idle_session_is_closed_at_once(serve, path: str) -> None:
    """An idle session is closed at once."""
    served = serve(Working)
    with dialled(served, path) as connection:
        if path == "/timed":
            connection.send(msgpack.packb(1))
            connection.recv(60)
        served.info.drain()
        answers = {"/total": [0]}.get(path, [])
        assert [msgpack.unpackb(connection.recv(60)) for _ in answers] == answers
        assert close_code(connection) == 1012
    assert served.info.future.result(60) is None


def test_session_that_outlasts_the_grace_is_cut_off(serve) -> None:
    """After the grace the handler is cancelled, with the same close code."""
    served = serve(Lasting)
    with dialled(served, "/forever") as connection:
        connection.send(b"\x01")
        served.find_line("at it")
        served.info.drain()
        assert close_code(connection) == 1012
    assert served.info.future.result(60) is None
