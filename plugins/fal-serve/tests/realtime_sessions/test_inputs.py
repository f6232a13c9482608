"""Realtime handlers that iterate over their inputs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from typing import Any

import msgpack
import pytest
from realtime_examples import Gated
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from fal_serve import endpoint, realtime
from fal_testing.harness.processes import wait_until


class Streams(Gated):
    def setup(self) -> None:
        super().setup()
        self.ended: list[str] = []

    @endpoint("/ended")
    async def tell_ended(self) -> list[str]:
        return self.ended

    @realtime("/newest", buffering=2)
    async def newest(self, inputs: AsyncIterator[int]) -> AsyncIterator[int]:
        try:
            async for each in inputs:
                self.seen.append(each)
                await self.gate.wait()
                yield each
        except BaseException as error:
            self.ended.append(type(error).__name__)
            raise

    @realtime("/total", buffering=2, session_timeout=3.5)
    async def total(self, inputs: AsyncIterator[int]) -> int:
        total = 0
        async for each in inputs:
            self.seen.append(each)
            await self.gate.wait()
            total += each
        return total

    @realtime("/timed", emit_timings=True)
    async def timed(self, inputs: AsyncIterator[float]) -> AsyncIterator[str]:
        async for each in inputs:
            await asyncio.sleep(each)
            yield "first"
            yield "second"

    @realtime("/timed-once", emit_timings=True, session_timeout=3.5)
    async def timed_once(self, inputs: AsyncIterator[float]) -> str:
        async for each in inputs:
            await asyncio.sleep(each)
        return "once"


@pytest.fixture(scope="module")
def served(serve):
    return serve(Streams)


def dial(served: Any, path: str) -> AbstractContextManager[ClientConnection]:
    return connect(f"ws{served.url[4:]}{path}")


def take(socket: ClientConnection) -> Any:
    frame = socket.recv(60)
    return json.loads(frame) if isinstance(frame, str) else msgpack.unpackb(frame)


def wait_for(served: Any, path: str, expected: list[Any]) -> None:
    """Wait until the answer at *path* is *expected*."""
    assert wait_until(lambda: served.post(path).json() == expected, 60), served.post(
        path
    ).json()


@pytest.mark.parametrize(("path", "answers"), [("/newest", [0, 8, 9]), ("/total", [17])])
def test_oldest_of_too_many_inputs_is_dropped(serve, path: str, answers: list[int]) -> None:
    """A handler that iterates continues with the newest inputs, even if no more arrive."""
    served = serve(Streams)
    with dial(served, path) as socket:
        socket.send(msgpack.packb(0))
        wait_for(served, "/seen", [0])
        for number in range(1, 10):
            socket.send(msgpack.packb(number))
        # The inputs have been read when a pong comes, which is answered after them.
        assert socket.ping().wait(60)
        # Longer than an idle session lasts, which this one is not.
        time.sleep(3.8)
        for seen in ([0], [0, 8], [0, 8, 9]):
            wait_for(served, "/seen", seen)
            served.post("/open")
        assert [take(socket) for _ in answers] == answers


def test_handler_of_a_client_that_has_gone_is_cancelled(served) -> None:
    """A handler is cancelled on disconnect even while inputs are buffered for it."""
    with dial(served, "/newest") as socket:
        socket.send(msgpack.packb(-1))
        wait_for(served, "/seen", [-1])
    wait_for(served, "/ended", ["CancelledError"])


def test_idle_session_with_a_buffer_ends(served) -> None:
    """It ends like one without a buffer, after the handler's last output is sent."""
    with dial(served, "/total") as socket:
        assert take(socket) == 0
        assert take(socket)["error"] == "TIMEOUT"


def test_wrong_message_ends_a_session_with_a_buffer(served) -> None:
    """An invalid message is reported, as without a buffer."""
    with dial(served, "/newest") as socket:
        socket.send("no msgpack")
        assert take(socket)["error"] == "INVALID_MESSAGE"


def test_each_output_of_a_stream_has_its_timing(served) -> None:
    """The timing is what the handler took for that output, without waiting for inputs."""
    with dial(served, "/timed") as socket:
        # The handler waits for its input, which must not count.
        time.sleep(0.3)
        for seconds in (0.05, 0.0):
            began = time.monotonic()
            socket.send(msgpack.packb(seconds))
            assert take(socket) == "first"
            told = take(socket)
            assert told["action"] == "timings"
            assert seconds * 0.9 <= told["timing"]
            assert take(socket) == "second"
            second = take(socket)["timing"]
            # Together they are no more than there was time from the input on.
            assert told["timing"] + second < time.monotonic() - began


def test_answer_to_a_stream_has_its_timing(served) -> None:
    """The output for many inputs has the time that the handler took for all of them."""
    with dial(served, "/timed-once") as socket:
        began = time.monotonic()
        for _ in range(2):
            socket.send(msgpack.packb(0.05))
        assert take(socket) == "once"
        taken = take(socket)["timing"]
        # What the session waits for another input is no time of the handler.
        assert 0.09 <= taken < time.monotonic() - began - 3.4
        assert take(socket)["error"] == "TIMEOUT"
        with contextlib.suppress(ConnectionClosed):
            socket.recv(60)
