"""
The HTTP client: the requests it sends to runners, and how it reads their responses.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fal_server.commands.event_loops import make_loop
from fal_server.fleet.http_client import HttpClient
from fal_server.fleet.http_upstreams import LONGEST_HEAD, BrokenUpstream, UnreachedUpstream
from fal_server.listeners.http_connections import Unreadable

PATIENCE = 60
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Agent:
    """
    A server of sockets; each of its connections is handled by the next function of the
    test.
    """

    def __init__(self, *turns: Serve) -> None:
        self.turns = turns
        self.connections = 0
        self.requests: list[bytes] = []
        self.gone = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        turn = self.turns[min(self.connections, len(self.turns) - 1)]
        self.connections += 1
        try:
            await turn(self._noting(reader), writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.gone.set()
        finally:
            writer.close()

    def _noting(self, reader: asyncio.StreamReader) -> asyncio.StreamReader:
        read = reader.readuntil

        async def readuntil(separator: Any = b"\r\n\r\n") -> bytes:
            found = await read(separator)
            self.requests.append(found)
            return found

        # Each turn reads by itself; what it reads is noted for all of them here.
        reader.readuntil = readuntil  # type: ignore[method-assign]
        return reader


@contextlib.asynccontextmanager
async def listening(agent: Agent) -> AsyncIterator[tuple[HttpClient, str]]:
    """
    Have *agent* listen, and yield a client and its url.
    """
    server = await asyncio.start_server(agent.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, contextlib.aclosing(HttpClient()) as exchanges:
        yield exchanges, f"http://127.0.0.1:{port}"


def run(work: Awaitable[Any]) -> Any:
    """
    Return the result of *work*, in an event loop like that of the server.
    """
    loop = make_loop()
    try:
        return loop.run_until_complete(asyncio.wait_for(work, PATIENCE))
    finally:
        # Transports that were closed report it in a later step of the loop.
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()


def answering(*answers: bytes) -> Serve:
    """
    Return a handler that sends each of *answers* to one request, and then closes.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()

    return serve


def holding(answer: bytes) -> Serve:
    """
    Return a handler that answers any number of requests in the same way.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)

    return serve


async def ask(exchanges: HttpClient, url: str, method: str = "GET", **given: Any) -> bytes:
    """
    Return the body of an answer.
    """
    headers = given.pop("headers", {})
    async with exchanges.ask(method, url, "/", headers=headers, **given) as upstream:
        return await upstream.read()


def answer_of(turn: Serve, method: str = "GET", **given: Any) -> tuple[int, str, bytes]:
    """
    Return the status, a header and the body that *turn* answers a request with.
    """

    async def main() -> tuple[int, str, bytes]:
        async with (
            listening(Agent(turn)) as (exchanges, url),
            exchanges.ask(method, url, "/", headers={}, **given) as upstream,
        ):
            body = await upstream.read()
            return upstream.status, upstream.headers.get("X-Mine", ""), body

    return run(main())


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 201 Made\r\nX-Mine: a\r\nContent-Length: 4\r\n\r\nfine",
        b"HTTP/1.1 201 Made\r\nX-Mine: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nfi\r\n2;x=y\r\nne\r\n0\r\nX-Mine: trailer\r\n\r\n",
        b"HTTP/1.1 201 Made\r\nX-Mine: a\r\n\r\nfine",
        b"HTTP/1.0 201 Made\r\nX-Mine: a\r\n\r\nfine",
        b"HTTP/1.1 103 Early Hints\r\nX-Mine: early\r\n\r\n"
        b"HTTP/1.1 201 Made\r\nX-Mine: a\r\nContent-Length: 4\r\n\r\nfine",
    ],
    ids=["length", "chunks", "closed", "old", "hints"],
)
@given(data=st.data())
def test_response_in_any_pieces(answer: bytes, data: st.DataObject):
    """
    An answer is read whole, in whatever pieces it arrives.
    """
    places = sorted(data.draw(st.sets(st.integers(1, len(answer) - 1), max_size=5)))
    pieces = [
        answer[start:end]
        for start, end in zip([0, *places], [*places, len(answer)], strict=True)
    ]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            # Let the client read each piece by itself.
            await asyncio.sleep(0)

    assert answer_of(serve) == (201, "a", b"fine")


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"),
    ],
)
def test_response_without_a_body_ends_with_its_headers(method: str, answer: bytes):
    """
    A response without a body ends after its headers, whatever these say, and its connection
    takes the next request.
    """

    async def main() -> None:
        agent = Agent(answering(answer, OK))
        async with listening(agent) as (exchanges, url):
            assert await ask(exchanges, url, method) == b""
            assert await ask(exchanges, url) == b"fine"
            assert agent.connections == 1

    run(main())


def test_a_header_in_another_encoding_can_be_read():
    """
    A header that is not UTF-8 is decoded as Latin-1.
    """
    answer = b"HTTP/1.1 200 OK\r\nX-Mine: caf\xe9\r\nContent-Length: 0\r\n\r\n"
    assert answer_of(answering(answer)) == (200, "café", b"")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"what?\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nfi\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nfi\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nfine!",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\nfine",
        b"HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\nfine",
        b"HTTP/1.1 101 Switching\r\nUpgrade: mine\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Mine: " + 2 * LONGEST_HEAD * b"a" + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + LONGEST_HEAD * b"a: b\r\n",
    ],
    ids=[
        "nothing",
        "words",
        "half",
        "chunk",
        "size",
        "lengths",
        "smuggled",
        "negative",
        "upgrade",
        "long",
        "many",
    ],
)
def test_an_answer_that_is_none_is_an_error(answer: bytes):
    """
    Malformed and truncated responses are errors.
    """
    with pytest.raises(BrokenUpstream, match=r"\.$"):
        answer_of(answering(answer))


@pytest.mark.parametrize("begun", [b"0\r\nX-Mine: ", b"2;x="])
def test_trailers_and_chunk_extensions_are_limited(begun: bytes):
    """
    Trailers and chunk extensions may be as large as the headers at most.
    """
    written = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + begun)
        while written < 1024 * LONGEST_HEAD:
            writer.write(LONGEST_HEAD * b"a")
            await writer.drain()
            written += LONGEST_HEAD

    with pytest.raises(BrokenUpstream, match="too long"):
        answer_of(serve)
    assert written < 1024 * LONGEST_HEAD


def test_refused_connection():
    """
    A runner that cannot be reached counts as broken off.
    """

    async def main() -> None:
        async with contextlib.aclosing(HttpClient()) as exchanges:
            with pytest.raises(BrokenUpstream, match="No connection could be made"):
                await ask(exchanges, "http://127.0.0.1:1")

    run(main())


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

    with socket.socket() as full, contextlib.ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        run(main(f"http://127.0.0.1:{full.getsockname()[1]}"))


def test_connections_are_kept_and_not_shared():
    """
    Requests one after another use one connection, those at once one each.
    """

    async def main() -> None:
        agent = Agent(holding(OK))
        async with listening(agent) as (exchanges, url):
            for _ in range(3):
                assert await ask(exchanges, url) == b"fine"
            assert agent.connections == 1
            assert await asyncio.gather(*(ask(exchanges, url) for _ in range(3)))
            assert agent.connections == 3

    run(main())


def test_a_connection_that_says_it_ends_is_not_used_again():
    """
    An answer may say that its connection takes nothing more.
    """

    async def main() -> None:
        last = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        agent = Agent(holding(last))
        async with listening(agent) as (exchanges, url):
            await ask(exchanges, url)
            await ask(exchanges, url)
            assert agent.connections == 2

    run(main())


@pytest.mark.parametrize("waits", [False, True])
def test_an_answer_nobody_asked_for_is_given_to_nobody(waits: bool):
    """
    A runner that answers twice loses its connection: the second answer would be taken for
    that of the next request.
    """

    async def main() -> None:
        agent = Agent(holding(OK + OK.replace(b"fine", b"evil")), holding(OK))
        if waits:
            agent = Agent(late, holding(OK))
        async with listening(agent) as (exchanges, url):
            assert await ask(exchanges, url) == b"fine"
            if waits:
                await agent.gone.wait()
            assert await ask(exchanges, url) == b"fine"
            assert agent.connections == 2

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        # The second response arrives after the first was taken.
        await asyncio.sleep(0.05)
        writer.write(OK.replace(b"fine", b"evil"))
        await reader.readexactly(1)

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
    """
    A connection that was idle for long is not used, as its server may be about to close it.
    """
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
    """
    Nothing is kept of a runner whose connections are closed.
    """

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
    """
    A request that may have a body states its length.
    """

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
    """
    A loop of asyncio alone, as there is without uvloop, has nothing left to write.
    """

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
    """
    A line break in a header, or a blank in a path, would begin another header or request.
    """

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
    """
    A streamed body is sent with its length, or in chunks if that is not known.
    """
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


def test_response_before_the_request_body_is_sent():
    """
    A connection with an unfinished request body takes no other request: a runner that does
    not read the body would not read the next request either.
    """

    async def main() -> None:
        agent = Agent(refusing, holding(OK))
        async with listening(agent) as (exchanges, url):
            assert await ask(exchanges, url, "POST", body=b"a" * (32 << 20)) == b"fine"
            assert await ask(exchanges, url, "POST", body=b"a") == b"fine"
            assert agent.connections == 2
            over.set()

    async def refusing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await over.wait()

    over = asyncio.Event()
    run(main())


def test_a_body_that_breaks_off_ends_the_request():
    """
    A runner is never left waiting for the rest of a body that does not come.
    """

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


def test_slow_runner_holds_back_the_sender():
    """
    No more of a request body is taken than the runner reads, beside what the sockets
    buffer.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await over.wait()

    async def body() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(64):
            taken += 1
            begun.set()
            yield b"a" * (1 << 20)

    async def main() -> None:
        async with listening(Agent(serve)) as (exchanges, url):
            asking = asyncio.ensure_future(ask(exchanges, url, "POST", body=body()))
            await begun.wait()
            # Nothing must come meanwhile.
            await asyncio.sleep(1.0)
            assert not asking.done()
            asking.cancel()
            await asyncio.wait({asking})
            over.set()
        assert 0 < taken < 32

    taken = 0
    begun, over = asyncio.Event(), asyncio.Event()
    run(main())


def test_slow_reader_holds_back_the_runner():
    """
    No more of a response is kept than its reader takes, beside what the sockets buffer.
    """
    part, count = b"a" * (1 << 20), 64
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (count * len(part))
    written = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        for _ in range(count):
            writer.write(part)
            await writer.drain()
            written += 1

    async def main() -> None:
        async with (
            listening(Agent(serve)) as (exchanges, url),
            exchanges.ask("GET", url, "/", headers={}) as upstream,
        ):
            # A client that does not stop reading would take everything meanwhile.
            await asyncio.sleep(0.5)
            assert written < count // 2
            size = 0
            while got := await upstream.read_part():
                size += len(got)
            assert size == count * len(part)

    run(main())


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"])
def test_timeout_of_an_exchange(begun: bytes):
    """
    The timeout covers the whole exchange, and the runner sees a disconnect when it is over.
    """

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
    """
    A runner sees that the one it answers has gone.
    """

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
    """
    After the client is closed no request is sent to a runner, on kept or new connections.
    """

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
