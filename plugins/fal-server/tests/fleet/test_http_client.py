"""The HTTP client: the requests that it sends to runners, and its connections with them."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from raw_agents import (
    OK,
    PATIENCE,
    Agent,
    answering,
    ask,
    full_listener,
    holding,
    listening,
    listening_on,
    run,
)

from fal_server.fleet.http_client import HttpClient
from fal_server.fleet.http_upstreams import BrokenUpstream, UnreachedUpstream
from fal_server.listeners.http_connections import Unreadable


def test_refused_connection():
    """A runner that cannot be reached counts as broken off."""

    async def main() -> None:
        async with contextlib.aclosing(HttpClient()) as exchanges:
            with pytest.raises(BrokenUpstream, match="No connection could be made"):
                await ask(exchanges, "http://127.0.0.1:1")

    run(main())


def test_runner_at_a_unix_socket(tmp_path: Path):
    """
    Requests to a Unix socket share connections as others do, and one where nobody listens
    counts as broken off.
    """

    async def main() -> None:
        agent = Agent(holding(OK))
        path = tmp_path / "run"
        async with listening_on(path, agent) as (exchanges, url):
            for _ in range(2):
                assert await ask(exchanges, url) == b"fine"
            assert agent.connections == 1
            assert b"\r\nHost: localhost\r\n" in agent.requests[0]
        async with contextlib.aclosing(HttpClient()) as exchanges:
            for left in (path, tmp_path / "none"):
                with pytest.raises(BrokenUpstream, match="No connection could be made"):
                    await ask(exchanges, f"unix:{left}")

    run(main())


def test_unix_socket_that_accepts_nothing(tmp_path: Path, monkeypatch):
    """A connection waits for its turn where many wait, and counts as broken off in the end."""
    monkeypatch.setattr("fal_server.fleet.http_client._LONGEST_CONNECT", 0.2)
    path = str(tmp_path / "run")

    async def main(waiting: list[socket.socket], server: socket.socket) -> None:
        async with contextlib.aclosing(HttpClient()) as exchanges:
            with pytest.raises(UnreachedUpstream, match="No connection was made within"):
                await ask(exchanges, f"unix:{path}", seconds=PATIENCE)
            monkeypatch.setattr("fal_server.fleet.http_client._LONGEST_CONNECT", PATIENCE)
            asking = asyncio.ensure_future(ask(exchanges, f"unix:{path}"))
            for _ in waiting:
                server.accept()[0].close()
            accepted = await asyncio.to_thread(server.accept)
            with accepted[0] as connection:
                await asyncio.to_thread(connection.recv, 1000)
                connection.sendall(OK)
                assert await asking == b"fine"

    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket(socket.AF_UNIX))
        server.bind(path)
        server.listen(0)
        waiting = []
        with contextlib.suppress(BlockingIOError):
            while True:
                each = stack.enter_context(socket.socket(socket.AF_UNIX))
                each.setblocking(False)
                each.connect(path)
                waiting.append(each)
        run(main(waiting, server))


def test_connection_that_is_not_accepted(monkeypatch):
    """
    A runner that accepts no connection counts as broken off too, however long its answer
    may take.
    """
    monkeypatch.setattr("fal_server.fleet.http_client._LONGEST_CONNECT", 0.2)

    async def main(url: str) -> None:
        async with contextlib.aclosing(HttpClient()) as exchanges:
            with pytest.raises(UnreachedUpstream, match="No connection was made within"):
                await ask(exchanges, url, seconds=PATIENCE)
            monkeypatch.setattr("fal_server.fleet.http_client._LONGEST_CONNECT", PATIENCE)
            with pytest.raises(asyncio.TimeoutError):
                await ask(exchanges, url, seconds=0.1)

    with full_listener() as url:
        run(main(url))


def test_connections_are_kept_and_not_shared():
    """Requests one after another use one connection, those at once one each."""

    async def main() -> None:
        agent = Agent(holding(OK))
        async with listening(agent) as (exchanges, url):
            for _ in range(3):
                assert await ask(exchanges, url) == b"fine"
            assert agent.connections == 1
            assert await asyncio.gather(*(ask(exchanges, url) for _ in range(3)))
            assert agent.connections == 3

    run(main())


@pytest.mark.parametrize(("method", "is_asked_again"), [("GET", True), ("POST", False)])
def test_a_kept_connection_that_was_closed(method: str, is_asked_again: bool):
    """
    If a kept connection turns out to be closed, a request that may be repeated is sent
    again; any other fails, as it may have been begun.
    """

    async def close_unanswered(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await reader.readuntil(b"\r\n\r\n")

    async def main() -> None:
        agent = Agent(close_unanswered, holding(OK))
        async with listening(agent) as (exchanges, url):
            await ask(exchanges, url)
            if is_asked_again:
                assert await ask(exchanges, url, method) == b"fine"
            else:
                with pytest.raises(BrokenUpstream):
                    await ask(exchanges, url, method)
            assert agent.connections == 1 + is_asked_again

    run(main())


def test_long_idle_connection_is_not_used(monkeypatch):
    """A connection that was idle for long is not used, as its server may be about to close it."""
    monkeypatch.setattr("fal_server.fleet.http_client._LONGEST_IDLE", 0.05)

    async def main() -> None:
        agent = Agent(holding(OK))
        async with listening(agent) as (exchanges, url):
            await asyncio.gather(*(ask(exchanges, url) for _ in range(3)))
            # The kept connections reach the age at which they are given up.
            await asyncio.sleep(0.1)
            await ask(exchanges, url, "POST")
            assert agent.connections == 4
            assert sum(map(len, exchanges._idle.values())) == 1

    run(main())


def test_idle_connections_are_closed(monkeypatch):
    """
    Idle connections are closed even if no further request comes: a runner that serves one
    connection at a time would never come to the next.
    """
    monkeypatch.setattr("fal_server.fleet.http_client._LONGEST_IDLE", 0.05)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with one_at_a_time:
            await holding(OK)(reader, writer)

    async def main() -> None:
        agent = Agent(serve)
        async with listening(agent) as (exchanges, url):
            answers = await asyncio.gather(ask(exchanges, url), ask(exchanges, url))
            assert answers == [b"fine", b"fine"]
            # Until its connections are closed.
            while exchanges._open or exchanges._idle or exchanges._timer is not None:
                await asyncio.sleep(0.01)

    one_at_a_time = asyncio.Lock()
    run(main())


def test_runners_that_have_ended_leave_nothing():
    """Nothing is kept of a runner whose connections are closed."""

    async def main() -> None:
        async with listening(Agent(answering(OK))) as (exchanges, url):
            await ask(exchanges, url)
            # Until its connections are closed.
            while exchanges._idle or exchanges._open:
                await asyncio.sleep(0.01)

    run(main())


@pytest.mark.parametrize(
    ("method", "body", "told"),
    [
        ("GET", None, None),
        ("POST", None, b"0"),
        ("DELETE", None, b"0"),
        ("POST", b"abc", b"3"),
        ("GET", b"", b"0"),
    ],
)
def test_a_body_has_its_length(method: str, body: bytes | None, told: bytes | None):
    """A request that may have a body states its length."""

    async def main() -> None:
        agent = Agent(holding(OK))
        async with listening(agent) as (exchanges, url):
            await ask(exchanges, url, method, body=body, headers={"X-Mine": "caf\udce9"})
        head = agent.requests[0].split(b"\r\n")
        assert head[0] == f"{method} / HTTP/1.1".encode()
        assert head[1] == f"Host: {url.removeprefix('http://')}".encode()
        assert b"X-Mine: caf\xe9" in head
        lengths = [line[16:] for line in head if line.startswith(b"Content-Length: ")]
        assert lengths == ([] if told is None else [told])

    run(main())


def test_an_empty_body_takes_no_time_of_the_loop():
    """A loop of asyncio alone, as there is without uvloop, has nothing left to write."""

    class Counting(selectors.DefaultSelector):  # type: ignore[misc,valid-type]  # of the system
        def select(self, timeout: float | None = None) -> Any:
            nonlocal rounds
            rounds += 1
            return super().select(timeout)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        before = rounds
        # Rounds of a client that waits idly would be counted meanwhile.
        await asyncio.sleep(0.5)
        taken.append(rounds - before)
        writer.write(OK)

    async def main() -> None:
        async with listening(Agent(serve)) as (exchanges, url):
            assert await ask(exchanges, url, "POST", body=b"") == b"fine"

    rounds = 0
    taken: list[int] = []
    loop = asyncio.SelectorEventLoop(Counting())
    try:
        loop.run_until_complete(asyncio.wait_for(main(), PATIENCE))
    finally:
        loop.close()
    assert taken[0] < 50


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/a b", {}),
        ("/a\r\nX: y", {}),
        ("/", {"X": "a\r\nY: b"}),
        ("/", {"X": "a\nb"}),
        ("/", {"X\r": "a"}),
        ("/", {"X": "a\0"}),
    ],
)
def test_what_would_be_read_as_something_else_is_not_sent(path: str, headers: Any):
    """A line break in a header, or a blank in a path, would begin another header or request."""

    async def main() -> None:
        agent = Agent(holding(OK))
        async with listening(agent) as (exchanges, url):
            with pytest.raises(Unreadable):
                async with exchanges.ask("GET", url, path, headers=headers):
                    pass
        assert not agent.requests

    run(main())


@pytest.mark.parametrize("length", ["8", None])
def test_streamed_body_is_forwarded(length: str | None):
    """A streamed body is sent with its length, or in chunks if that is not known."""
    end = b"12345678" if length else b"4\r\n1234\r\n4\r\n5678\r\n0\r\n\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        half = await reader.readexactly(4 if length else 9)
        seen.set()
        received.append(half + await reader.readexactly(len(end) - len(half)))
        writer.write(OK)

    async def body() -> AsyncIterator[bytes]:
        yield b"1234"
        yield b""
        await seen.wait()
        yield b"5678"

    async def main() -> None:
        headers = {"Content-Length": length} if length else {}
        async with listening(Agent(serve)) as (exchanges, url):
            assert await ask(exchanges, url, "POST", body=body(), headers=headers) == b"fine"
        assert received == [end]

    received: list[bytes] = []
    seen = asyncio.Event()
    run(main())


def test_response_before_the_request_body_has_arrived():
    """
    A runner may respond before it has read the body: the response counts, and the
    connection, on which the rest of the body is missing, is not used again.
    """

    async def body() -> AsyncIterator[bytes]:
        try:
            yield b"12"
            await asyncio.sleep(PATIENCE)
        finally:
            ended.append(True)

    async def main() -> None:
        agent = Agent(holding(OK))
        async with listening(agent) as (exchanges, url):
            headers = {"Content-Length": "8"}
            assert await ask(exchanges, url, "POST", body=body(), headers=headers) == b"fine"
            assert ended == [True]
            assert await ask(exchanges, url) == b"fine"
            assert agent.connections == 2

    ended: list[bool] = []
    run(main())


def test_a_body_that_breaks_off_ends_the_request():
    """A runner is never left waiting for the rest of a body that does not come."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(16)

    async def body() -> AsyncIterator[bytes]:
        yield b"12"
        raise RuntimeError("broken")

    async def main() -> None:
        agent = Agent(serve)
        async with listening(agent) as (exchanges, url):
            with pytest.raises(BrokenUpstream, match="could not be sent"):
                await ask(exchanges, url, "POST", body=body())
            await agent.gone.wait()

    run(main())


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"])
def test_timeout_of_an_exchange(begun: bytes):
    """The timeout covers the whole exchange, and the runner sees a disconnect when it is over."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(begun)
        await reader.readexactly(1)

    async def main() -> None:
        agent = Agent(serve)
        async with listening(agent) as (exchanges, url):
            # Its time may be over before there is a connection.
            while not agent.connections:
                with pytest.raises(asyncio.TimeoutError):
                    await ask(exchanges, url, seconds=0.1)
            await agent.gone.wait()

    run(main())


def test_a_request_that_nobody_waits_for_ends():
    """A runner sees that the one it answers has gone."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        begun.set()
        await reader.readexactly(1)

    async def main() -> None:
        agent = Agent(serve)
        async with listening(agent) as (exchanges, url):
            asking = asyncio.ensure_future(ask(exchanges, url))
            await begun.wait()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            await agent.gone.wait()

    begun = asyncio.Event()
    run(main())


def test_request_that_is_cancelled_at_its_end():
    """
    A connection whose response was read is kept even if its request is cancelled at that
    moment.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"0\r\n\r\n")
            writer.write(OK)

    async def body() -> AsyncIterator[bytes]:
        yield b"12"

    async def cancelled(exchanges: HttpClient, url: str) -> None:
        async with exchanges.ask("POST", url, "/", headers={}, body=body()) as upstream:
            assert await upstream.read() == b"fine"
            task = asyncio.current_task()
            assert task is not None
            asyncio.get_running_loop().call_soon(task.cancel)

    async def main() -> None:
        agent = Agent(serve)
        async with listening(agent) as (exchanges, url):
            # Later Pythons have nothing left to wait for there.
            await asyncio.wait({asyncio.ensure_future(cancelled(exchanges, url))})
            assert await ask(exchanges, url, "POST", body=body()) == b"fine"
            assert agent.connections == 1

    run(main())


def test_closed_client_sends_nothing():
    """After the client is closed no request is sent to a runner, on kept or new connections."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await reader.readuntil(b"\r\n\r\n")
        begun.set()
        await reader.readexactly(1)

    async def main() -> None:
        agent = Agent(serve)
        async with listening(agent) as (exchanges, url):
            await ask(exchanges, url)
            asking = asyncio.ensure_future(ask(exchanges, url))
            await begun.wait()
            await exchanges.aclose()
            with pytest.raises(BrokenUpstream):
                await asking
            with pytest.raises(BrokenUpstream):
                await ask(exchanges, url)
            assert agent.connections == 1
            assert len(agent.requests) == 2

    begun = asyncio.Event()
    run(main())
