"""
Realtime: a msgpack message to a websocket and back, over and over.

``python -m benchmarks.realtime_echo`` prints this theme alone. The client speaks the
protocol by hand, so that it takes a fraction of what any server does, and what is
measured is the server.
"""

from __future__ import annotations

import base64
import importlib.util
import os
import selectors
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

from benchmarks.figures import FAL_CORE, Contestant, Figure, Goal, Measure

MESSAGE = {"prompt": "a cat on a bench, oil on canvas", "seed": 42, "strength": 0.8}

_BARE = """
import asyncio, msgpack, sys, uvloop
from websockets.asyncio.server import serve

async def echo(socket):
    async for data in socket:
        await socket.send(msgpack.packb(msgpack.unpackb(data)))

async def main():
    async with serve(echo, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        print(f"http://127.0.0.1:{port}", flush=True)
        await asyncio.get_running_loop().create_future()

uvloop.run(main())
"""


def frame(data: bytes) -> bytes:
    """Return *data* as a binary frame of a client, with a mask of zeros."""
    assert len(data) < 126
    return struct.pack("!BB4x", 0x82, 0x80 | len(data)) + data


def connect(url: str) -> socket.socket:
    """Return a websocket that was opened at *url*."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    connection = socket.create_connection((parts.hostname, parts.port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    key = base64.b64encode(os.urandom(16)).decode()
    connection.sendall(
        f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 101"), answer
    return connection


def without_ping(answer: bytes) -> bytes:
    """Return *answer* without the server's question whether this client is there."""
    ping = b"\x89\x04"
    return answer[6:] if answer.startswith(ping) else answer[: answer.rfind(ping)]


@contextmanager
def load(url: str, connections: int, messages: int) -> Iterator[Measure]:
    """Give what sends *messages* over *connections*, each waiting for its answer."""
    import msgpack

    data = msgpack.packb(MESSAGE)
    sent = frame(data)
    expected = struct.pack("!BB", 0x82, len(data)) + data
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(connect(url))) for _ in range(connections)]
        selector = stack.enter_context(selectors.DefaultSelector())
        for each in sockets:
            selector.register(each, selectors.EVENT_READ, each)

        def measure() -> float:
            left = messages
            began = perf_counter()
            for each in sockets:
                each.sendall(sent)
            waiting = connections
            while waiting:
                for key, _ in selector.select():
                    answer = key.data.recv(4096)
                    if len(answer) != len(expected):
                        answer = without_ping(answer)
                        if not answer:
                            continue
                    assert answer == expected, answer
                    left -= 1
                    if left >= waiting:
                        key.data.send(sent)
                    else:
                        waiting -= 1
            return messages / (perf_counter() - began)

        measure()
        yield measure


@contextmanager
def echo_fal_core(connections: int, messages: int) -> Iterator[Measure]:
    """Ask an application that is served by the local host."""
    from fal_serve import App, realtime

    class Echo(App, kind="current", keep_alive=600):
        @realtime("/echo")
        async def echo(self, message: dict[str, Any]) -> dict[str, Any]:
            return message

    service = Echo.spawn()
    try:
        with load(f"{service.url}/echo", connections, messages) as measure:
            yield measure
    finally:
        service.cancel()


@contextmanager
def echo_websockets(connections: int, messages: int) -> Iterator[Measure]:
    """Ask a server of the package websockets, in uvloop."""
    with subprocess.Popen([sys.executable, "-c", _BARE], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().decode().strip()
            with load(url, connections, messages) as measure:
                yield measure
        finally:
            process.kill()


def figures(*, quick: bool) -> list[Figure]:
    """Return the figures of this theme."""
    return [_figure(connections, 4_000 if quick else 20_000) for connections in (1, 16)]


def _figure(connections: int, messages: int) -> Figure:
    here = "benchmarks.realtime_echo:echo_"
    settings = {"connections": connections, "messages": messages}
    bare = Contestant(
        name="a bare websockets server",
        target=here + "websockets",
        settings=settings,
        needs=("websockets", "uvloop", "msgpack"),
    )
    return Figure(
        name=f"realtime-{connections}",
        title=f"messages to and fro, msgpack, {connections} connections at a time",
        unit="messages/s",
        note="unpacked and packed on both sides; uvloop; one process each",
        contestants=(
            Contestant(
                name=FAL_CORE, target=here + "fal_core", settings=settings, role="fal-core"
            ),
            bare,
        ),
        goals=(Goal(against=bare.name, factor=0.9, at_least=True),),
    )


def main() -> None:
    """Print the figures of this theme."""
    from benchmarks.contests import hold
    from benchmarks.tables import render

    quick = "--quick" in sys.argv
    for figure in figures(quick=quick):
        print(render(hold(figure, rounds=3 if quick else 7)), flush=True)


if __name__ == "__main__":
    assert importlib.util.find_spec("fal_serve") is not None, "needs the extra 'serve'"
    main()
