"""Faults: clients that disconnect, read slowly, or send invalid or too much data."""

import asyncio
import gc
import os
import socket
import struct
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import Request
from fastapi.responses import StreamingResponse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fal_core_worker.serving.routes import RouteSignature
from fal_serve import health
from fal_serve.servables import BaseServable

PATIENCE = 60


class Faulted(BaseServable):
    """Handlers that receive and send much, and one that returns the open resources."""

    def __init__(self, func: Any) -> None:
        pass

    def collect_routes(self) -> dict[RouteSignature, Any]:
        return {
            RouteSignature("/take"): self.take,
            RouteSignature("/echo"): self.echo,
            RouteSignature("/give"): self.give,
            RouteSignature("/held", health_check=health.HealthCheck()): self.held,
        }

    async def take(self, request: Request) -> int:
        return sum([len(chunk) async for chunk in request.stream()])

    def echo(self, numbers: list[int]) -> list[int]:
        return numbers

    async def give(self) -> StreamingResponse:
        async def items() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 65536

        return StreamingResponse(items())

    async def held(self) -> dict[str, int]:
        gc.collect()
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[1])
        return {
            "descriptors": len(os.listdir("/proc/self/fd")),
            "tasks": len(asyncio.all_tasks()),
            "memory": pages * os.sysconf("SC_PAGE_SIZE"),
        }


def nothing() -> None: ...


def held(url: str) -> dict[str, int]:
    counts: dict[str, int] = httpx.post(url + "/held", timeout=PATIENCE).json()
    return counts


def wait_until_none_is_held(url: str, before: dict[str, int]) -> None:
    """Wait until there are no more tasks and descriptors than *before*."""
    end = time.monotonic() + PATIENCE
    while True:
        now = held(url)
        if all(now[name] <= before[name] for name in ("tasks", "descriptors")):
            return
        assert time.monotonic() < end, f"{before} has become {now}"
        # Until the service has let go of them.
        time.sleep(0.05)


def connect(url: str) -> socket.socket:
    address = urlsplit(url)
    return socket.create_connection((address.hostname, address.port), PATIENCE)


def reset(connection: socket.socket) -> None:
    """Close a connection like a client that has crashed."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.mark.parametrize("max_multiplexing", [None, 4])
def test_connections_that_are_dropped_leave_nothing(serve_with, max_multiplexing):
    """A thousand clients disconnect within their bodies, by close and by reset."""
    service = serve_with(nothing, Faulted, max_multiplexing=max_multiplexing)
    url = service.url
    head = b"POST /take HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n"
    before = held(url)
    for _ in range(10):
        connections = []
        for index in range(100):
            connection = connect(url)
            connection.sendall(head[: None if index % 10 else 30] + b"x" * (index % 7 * 999))
            connections.append(connection)
        for index, connection in enumerate(connections):
            reset(connection) if index % 2 else connection.close()
    wait_until_none_is_held(url, before)
    assert httpx.post(url + "/echo", json=[1]).json() == [1]


def test_slow_readers_are_waited_for_and_cost_no_memory(serve_with):
    """A stream is produced as fast as it is read, and ends when its reader disconnects."""
    service = serve_with(nothing, Faulted)
    url = service.url
    before = held(url)
    connections = []
    for _ in range(50):
        connection = connect(url)
        connection.sendall(b"POST /give HTTP/1.1\r\nhost: x\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        connections.append(connection)
    for _ in range(20):
        assert all(connection.recv(100) for connection in connections)
    assert held(url)["memory"] < before["memory"] + (64 << 20)
    for connection in connections:
        reset(connection)
    wait_until_none_is_held(url, before)


def test_large_body_is_taken_in_pieces(serve_with):
    """100 MB are streamed to a handler without being buffered; one byte over is refused."""
    size = 100_000_000
    service = serve_with(nothing, Faulted, max_body_size=size)
    before = held(service.url)

    def body(size: int) -> Any:
        return (b"x" * min(1_000_000, size - at) for at in range(0, size, 1_000_000))

    taken = httpx.post(service.url + "/take", content=body(size), timeout=PATIENCE)
    assert taken.json() == size
    refused = httpx.post(service.url + "/take", content=body(size + 1), timeout=PATIENCE)
    assert refused.status_code == 413
    declared = {"content-length": str(size + 1)}
    refused = httpx.post(
        service.url + "/take", content=body(size + 1), headers=declared, timeout=PATIENCE
    )
    assert refused.status_code == 413
    assert held(service.url)["memory"] < before["memory"] + (64 << 20)
    wait_until_none_is_held(service.url, before)


def answer_to(url: str, data: bytes, *, end: bool) -> bytes:
    """
    Send *data* unchanged, and return the bytes received until the connection is closed.

    With *end*, the sending side is shut down afterwards.
    """
    answer = b""
    with connect(url) as connection:
        try:
            connection.sendall(data)
            if end:
                connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(65536):
                answer += chunk
        except ConnectionError:
            pass
    return answer


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost x\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\nabc",
        b"GET /" + b"x" * 1_000_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200_000,
        b"GET / HTTP/1.1\r\na: " + b"x" * 1_000_000,
    ],
    # The name of a test is in the environment of what it starts, and has to be short.
    ids=lambda data: repr(data[:24]),
)
def test_malformed_requests_are_refused(serve_with, data):
    """An invalid request gets a 4xx response, or its connection is closed."""
    service = serve_with(nothing, Faulted)
    before = held(service.url)
    answer = answer_to(service.url, data, end=False)
    assert answer[:10] in (b"", b"HTTP/1.1 4")
    wait_until_none_is_held(service.url, before)


def test_nonsense_by_the_thousand_harms_nobody(serve_with):
    """Arbitrary bytes do not break the service."""
    service = serve_with(nothing, Faulted)
    url = service.url
    before = held(url)
    starts = st.sampled_from(
        [b"", b"POST /take HTTP/1.1\r\n", b"POST /take HTTP/1.1\r\ncontent-length: 9\r\n\r\n"]
    )

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(starts, st.binary(max_size=300))
    def send(start: bytes, data: bytes) -> None:
        assert b"HTTP/1.1 5" not in answer_to(url, start + data, end=True)

    send()
    wait_until_none_is_held(url, before)


def test_requests_behind_each_other_are_answered_in_order(serve_with):
    """Pipelined requests on one connection are answered in order."""
    service = serve_with(nothing, Faulted)
    count = 500
    data = b"".join(
        b"POST /echo HTTP/1.1\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n[%d]" % (len(str(index)) + 2, index)
        for index in range(count)
    )
    answer = b""
    with connect(service.url) as connection:
        connection.sendall(data)
        while b"[%d]" % (count - 1) not in answer:
            chunk = connection.recv(65536)
            assert chunk
            answer += chunk
    places = [answer.index(b"\r\n\r\n[%d]" % index) for index in range(count)]
    assert places == sorted(places)


@pytest.mark.parametrize("data", [b"", b"POST /echo HTTP/1.1\r\nhost:"])
def test_client_that_sends_no_request_is_let_go(serve_with, data):
    """A connection is closed if the head of its request never completes."""
    service = serve_with(nothing, Faulted, head_timeout=0.5)
    with connect(service.url) as connection:
        connection.sendall(data)
        assert connection.recv(100) == b""
