"""Realtime endpoints whose clients disconnect, do not read, or send garbage."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import urlsplit

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from fal_serve import App, cancel_on_disconnect, endpoint, realtime, request_cancelled

#: Seconds of work that nobody waits for: it is cancelled or interrupted.
FOR_EVER = 3600


def own_memory() -> int:
    """Return the bytes of memory of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Faults(App, kind="current"):
    def setup(self) -> None:
        self.notes: list[str] = []
        self.taken = 0

    @endpoint("/state")
    async def state(self) -> dict[str, Any]:
        return {
            "tasks": sorted(
                name
                for each in asyncio.all_tasks()
                # Threads that have nothing to do are kept for the next call.
                if "ThreadPool._host" not in repr(each)
                # The server looks after itself now and then.
                if (name := each.get_coro().__qualname__) not in ("Event.wait", "wait_for")
            ),
            "files": len(os.listdir("/proc/self/fd")),
            "memory": own_memory(),
            "notes": self.notes,
            "taken": self.taken,
        }

    @contextlib.contextmanager
    def note(self) -> Iterator[None]:
        self.notes.append("began")
        try:
            yield
            self.notes.append("ended")
        except BaseException as error:
            self.notes.append(type(error).__name__)
            raise

    @realtime("/echo")
    async def echo(self, message):
        self.taken += 1
        return message

    @realtime("/unary")
    async def unary(self, message):
        with self.note():
            await asyncio.sleep(FOR_EVER)

    @realtime("/buffered", buffering=4)
    async def buffered(self, message):
        with self.note():
            await asyncio.sleep(FOR_EVER)

    @realtime("/batch", max_batch_size=2)
    async def batch(self, *messages):
        with self.note():
            await asyncio.sleep(FOR_EVER)

    @realtime("/thread")
    def thread(self, message):
        with self.note():
            # Until it is cancelled.
            while not request_cancelled():
                time.sleep(0.01)

    @realtime("/thread-buffered", buffering=4)
    def thread_buffered(self, message):
        with self.note():
            # Until it is cancelled.
            while not request_cancelled():
                time.sleep(0.01)

    @realtime("/scope")
    async def scope(self, message):
        with self.note():
            async with cancel_on_disconnect():
                await asyncio.sleep(FOR_EVER)

    @realtime("/stream")
    async def stream(self, message) -> AsyncIterator[int]:
        with self.note():
            while True:
                yield 1
                await asyncio.sleep(FOR_EVER)

    @realtime("/thread-stream")
    def thread_stream(self, message) -> Iterator[int]:
        with self.note():
            while True:
                yield 1
                # Endless, but no busy loop.
                time.sleep(0.01)

    @realtime("/collect")
    async def collect(self, messages: AsyncIterator) -> int:
        with self.note():
            return len([each async for each in messages])

    @realtime("/stuck")
    async def stuck(self, messages: AsyncIterator) -> AsyncIterator[int]:
        with self.note():
            async for _ in messages:
                await asyncio.sleep(FOR_EVER)
                yield 1

    @realtime("/flood")
    async def flood(self, message) -> AsyncIterator[bytes]:
        while True:
            self.taken += 1
            yield bytes(100_000)

    @realtime("/slow")
    async def slow(self, message):
        self.taken += 1
        await asyncio.sleep(FOR_EVER)


@pytest.fixture
def served(serve: Callable[[Any], Any]) -> Any:
    return serve(Faults)


@pytest.fixture(scope="module")
def shared(serve: Callable[[Any], Any]) -> Any:
    return serve(Faults)


def dial(served: Any, path: str) -> AbstractContextManager[ClientConnection]:
    """Connect to a path of the service."""
    return connect(served.url.replace("http", "ws") + path)


class Rude:
    """A client that does what no library does."""

    def __init__(self, served: Any, path: str) -> None:
        host, port = urlsplit(served.url).netloc.split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=60)
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\n"
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += self.socket.recv(1)
        assert answer.startswith(b"HTTP/1.1 101"), answer

    def send(self, data: bytes, kind: int = 2) -> None:
        """Send a frame; its mask is all zeros."""
        self.socket.sendall(frame_of(data, kind))

    def reset(self) -> None:
        """Drop the connection, like a client that is killed."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        """Close the connection as the protocol requires."""
        with contextlib.suppress(OSError):
            self.send(struct.pack("!H", 1000), kind=8)
            self.read_all()
        self.socket.close()

    def read_all(self) -> bytes:
        """Return the bytes received until the service closes the connection."""
        found = b""
        while part := self.socket.recv(1 << 16):
            found += part
        return found


def frame_of(data: bytes, kind: int = 2) -> bytes:
    """Return a client's frame, whose mask is all zeros."""
    if len(data) > 125:
        head = struct.pack("!BBQ", 0x80 | kind, 0x80 | 127, len(data))
    else:
        head = struct.pack("!BB", 0x80 | kind, 0x80 | len(data))
    return head + bytes(4) + data


def state_of(served: Any) -> dict[str, Any]:
    """Return what the service has open and in memory."""
    found: dict[str, Any] = served.post("/state").json()
    return found


def wait_until(served: Any, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Wait until the state of the service fulfils a condition."""
    until = time.monotonic() + 60
    while not holds(state := state_of(served)):
        assert time.monotonic() < until, state
        # Until the state is right.
        time.sleep(0.01)
    return state


@pytest.mark.parametrize("goes", ["closes", "resets"])
@pytest.mark.parametrize(
    ("path", "ends"),
    [
        ("/unary", "CancelledError"),
        ("/buffered", "CancelledError"),
        ("/batch", "CancelledError"),
        ("/thread", "ended"),
        ("/thread-buffered", "ended"),
        ("/scope", "CancelledError"),
        ("/stream", "CancelledError"),
        ("/thread-stream", "GeneratorExit"),
        ("/collect", "ended"),
        ("/stuck", "CancelledError"),
    ],
)
def test_handler_learns_that_its_client_has_gone(served, path, ends, goes) -> None:
    """The handler is cancelled, its generator is closed, or its inputs end; nothing leaks."""
    before = state_of(served)
    client = Rude(served, path)
    client.send(b"\x01")
    client.send(b"\x02")
    wait_until(served, lambda state: state["notes"] == ["began"])
    if goes == "closes":
        client.close()
    else:
        client.reset()
    wait_until(
        served,
        lambda state: (
            state["notes"] == ["began", ends]
            and state["tasks"] == before["tasks"]
            and state["files"] <= before["files"]
        ),
    )


def test_handler_of_a_client_that_stays_is_left_alone(served) -> None:
    """It is not cancelled, whatever other clients do and however much its own sends."""
    with dial(served, "/unary") as connection:
        for _ in range(10):
            connection.send(b"\x01")
        wait_until(served, lambda state: state["notes"] == ["began"])
        for _ in range(20):
            Rude(served, "/echo").reset()
        assert connection.ping().wait(60)
        assert state_of(served)["notes"] == ["began"]


def test_thousand_connections_that_are_lost_leave_nothing(served) -> None:
    """They leak no task, no file and hardly any memory."""
    paths = ("/unary", "/buffered", "/batch", "/stream", "/collect", "/echo")

    def lose(count: int) -> None:
        for number in range(count):
            client = Rude(served, paths[number % len(paths)])
            client.send(bytes([0xC4, 100]) + bytes(100))
            client.reset()

    before = state_of(served)
    lose(100)
    wait_until(served, lambda state: state["tasks"] == before["tasks"])
    rounds: list[int] = []
    # What a busy machine has had to be held at once is not held again; a leak grows on.
    while not rounds or (rounds[-1] >= 10 << 20 and len(rounds) < 3):
        early = state_of(served)
        threads = [threading.Thread(target=lose, args=(225,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        after = wait_until(
            served,
            lambda state: (
                state["tasks"] == before["tasks"] and state["files"] <= before["files"]
            ),
        )
        rounds.append(after["memory"] - early["memory"])
    assert rounds[-1] < 10 << 20, rounds


def test_client_that_does_not_read_stops_a_stream(served) -> None:
    """The handler waits, and unsent outputs are not buffered without bound."""
    client = Rude(served, "/flood")
    client.send(b"\x01")
    taken = -1
    while (now := state_of(served)["taken"]) != taken:
        taken = now
        # Nothing must be taken for this long.
        time.sleep(0.3)
    # What fits into the buffers between the two, and no more.
    assert taken < 300
    client.reset()
    wait_until(served, lambda state: not any("Session" in each for each in state["tasks"]))


@pytest.mark.parametrize("path", ["/echo", "/slow", "/batch"])
def test_client_that_only_sends_is_held_back(served, path: str) -> None:
    """Waiting inputs and unread outputs are not buffered without bound."""
    before = state_of(served)
    client = Rude(served, path)
    client.socket.setblocking(False)
    frame = frame_of(msgpack.packb(bytes(100_000)))
    pending, sent, patience = b"", 0, 20
    while patience and sent < 400 << 20:
        pending = pending or frame
        try:
            count = client.socket.send(pending)
        except BlockingIOError:
            patience -= 1
            # The service may still be reading.
            time.sleep(0.05)
            continue
        pending, patience = pending[count:], 20
        sent += count
    assert not patience, "the service took everything"
    assert state_of(served)["memory"] - before["memory"] < 60 << 20
    client.reset()
    wait_until(served, lambda state: state["tasks"] == before["tasks"])


def test_thousands_of_frames_of_rubbish_end_one_session(served) -> None:
    """The first invalid frame is reported, and the rest are dropped."""
    before = state_of(served)
    for path in ("/echo", "/buffered", "/batch", "/stream", "/collect"):
        client = Rude(served, path)
        with contextlib.suppress(OSError):
            for number in range(2000):
                client.send(b"\xc1", kind=1 + number % 2)
        client.close()
    after = wait_until(
        served,
        lambda state: state["tasks"] == before["tasks"] and state["files"] <= before["files"],
    )
    assert after["taken"] == 0


@pytest.mark.parametrize(
    "raw",
    [
        b"\x82\xff" + b"\xff" * 8 + b"1234",
        b"\xff\xff\xff\xff",
        b"\x81\x82\0\0\0\0\xc3\x28",
        b"\x82\x05abcde",
        b"\x00\x81\0\0\0\0a",
        b"\x88\x81\0\0\0\0\x00",
        b"\x89\xfe\x00\x80\0\0\0\0" + bytes(128),
    ],
)
def test_broken_protocol_ends_one_connection(shared, raw: bytes) -> None:
    """Too large, unmasked, unknown or undecodable frames only end their own connection."""
    before = state_of(shared)
    client = Rude(shared, "/echo")
    client.socket.sendall(raw)
    with contextlib.suppress(ConnectionResetError):
        client.read_all()
    client.socket.close()
    wait_until(shared, lambda state: state["tasks"] == before["tasks"])


FRAMES = st.lists(
    st.binary(max_size=60)
    | st.text(max_size=20)
    | st.integers(-5, 5).map(msgpack.packb)
    | st.dictionaries(st.text(max_size=3), st.none(), max_size=2).map(msgpack.packb),
    max_size=8,
)


@given(frames=FRAMES, path=st.sampled_from(["/echo", "/buffered", "/collect", "/stream"]))
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_frames_are_answered_or_refused(shared, frames: list[Any], path: str) -> None:
    """A session answers the messages before the first invalid frame, reports it, and ends."""
    good = []
    for frame in frames:
        try:
            assert isinstance(frame, bytes)
            good.append(msgpack.unpackb(frame, strict_map_key=False, use_list=True))
        except Exception:
            break
    with dial(shared, path) as connection:
        with contextlib.suppress(ConnectionClosed):
            for frame in frames:
                connection.send(frame)
        if path != "/echo":
            return
        answers = [connection.recv(timeout=60) for _ in good]
        assert [msgpack.unpackb(each, strict_map_key=False) for each in answers] == good
        if len(good) < len(frames):
            last = connection.recv(timeout=60)
            assert isinstance(last, str)
            assert '"INVALID_MESSAGE"' in last
            with pytest.raises(ConnectionClosed):
                connection.recv(timeout=60)


def test_nothing_is_left_of_all_that(shared, served) -> None:
    """After the fuzzer, the service has only the tasks that a new one has."""
    fresh = state_of(served)["tasks"]
    wait_until(shared, lambda state: state["tasks"] == fresh)
    with dial(shared, "/echo") as connection:
        connection.send(b"\x01")
        assert connection.recv(timeout=60) == b"\x01"


def test_cancelled_service_ends_its_sessions(serve) -> None:
    """Handlers are cancelled, and clients see their connections close."""
    served = serve(Faults)
    with dial(served, "/unary") as connection:
        connection.send(b"\x01")
        wait_until(served, lambda state: state["notes"] == ["began"])
        served.info.cancel()
        with pytest.raises(ConnectionClosed):
            connection.recv(timeout=60)
