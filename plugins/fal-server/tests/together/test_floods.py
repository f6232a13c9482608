"""Floods: clients without a key that begin much and end nothing, and one with a key meanwhile."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import grpc
import httpx
import pytest
from isolate_proto import ListSecretsRequest
from isolate_proto import controller_pb2 as wire
from programs import to_metadata

pytestmark = pytest.mark.faults

#: The most connections of the server, and the seconds that it waits for a client.
MOST, SECONDS = 40, 4

#: How many requests of an application wait, and their bytes. Those without a key get half.
WAITING, HELD = 10, 2 << 20

#: How many files more a server may open that is to have too few for `MOST` connections.
ROOM = 16

DOORS = ("api", "run", "queue", "ws", "metrics")

HALF_HEAD = b"POST /owner/echo HTTP/1.1\r\nHost: x\r\nX-Half: "
HALF_BODY = b"POST /owner/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"
HALF_CHUNK = b"POST /owner/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{"
UPGRADE = (
    b"GET /owner/echo/socket HTTP/1.1\r\nHost: x\r\n"
    b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"


def make_echo() -> Callable[..., None]:
    """
    Return an application that answers with what it got, without end at ``/endless``, and as
    a websocket that says nothing at ``/socket``.
    """

    def serve(*, exposed_port: int, exposed_metrics_port: int = 0) -> None:
        import base64
        import contextlib
        import hashlib
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                if self.path == "/endless":
                    self.send_response(200)
                    self.end_headers()
                    with contextlib.suppress(OSError):
                        while True:
                            self.wfile.write(bytes(1 << 16))
                    self.close_connection = True
                    return
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
                digest = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
                self.send_response(101)
                self.send_header("Upgrade", "websocket")
                self.send_header("Connection", "Upgrade")
                self.send_header("Sec-WebSocket-Accept", digest)
                self.end_headers()
                # Until the other end closes it.
                self.rfile.read(1)
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        ThreadingHTTPServer(("127.0.0.1", exposed_port), Handler).serve_forever()

    return serve


@pytest.fixture(scope="module")
def flooded(make_standing: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server with low limits, and a public application that handles one request at a time."""
    options = {
        "most-connections": MOST,
        "longest-head": SECONDS,
        "longest-stall": SECONDS,
        "longest-idle": SECONDS,
        "most-waiting": WAITING,
        "largest-waiting": HELD,
    }
    limits = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    standing = make_standing(tmp_path_factory.mktemp("flooded"), *limits)
    standing.deploy("echo", function=make_echo(), auth_mode=wire.PUBLIC, max_multiplexing=1)
    standing.deploy("gated", auth_mode=wire.PUBLIC)
    return standing


@contextlib.contextmanager
def flood(flooded: Any, begin: bytes, doors: tuple[str, ...], count: int) -> Iterator[Any]:
    """Open *count* connections at each door that send *begin* and no more, and yield them."""
    with ExitStack() as held:
        opened = []
        for number in range(count * len(doors)):
            address = ("127.0.0.1", flooded.plane.ports[doors[number % len(doors)]])
            connection = held.enter_context(socket.create_connection(address, timeout=60))
            # Of those that do not read, the server sees that soon.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
            with contextlib.suppress(ConnectionError):
                connection.sendall(begin)
            opened.append(connection)
        yield opened


def be_served(flooded: Any) -> None:
    """Do with a key what clients do: call, send a request, and submit one."""
    assert not flooded.plane.call("ListSecrets", ListSecretsRequest()).secrets
    with flooded.plane.client() as client:
        assert client.get("/users/current").json()["nickname"] == "owner"
    with flooded.client("run") as client:
        assert client.post("/owner/echo", content=b"words").content == b"words"
    assert flooded.finish("echo", flooded.submit("echo")).content == b"{}"
    metrics = f"http://127.0.0.1:{flooded.plane.ports['metrics']}/metrics"
    assert httpx.get(metrics, trust_env=False, timeout=60).status_code == 200


def _is_served(flooded: Any) -> bool:
    """
    Do the same, and return False if a connection is closed before it is answered. Its client
    sees an end, a reset, or a call that cannot be made.
    """
    try:
        be_served(flooded)
    except (httpx.RemoteProtocolError, httpx.NetworkError):
        return False
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return False
    return True


def is_open(connection: socket.socket) -> bool:
    """Return whether the server has neither answered nor closed a connection."""
    connection.setblocking(False)
    try:
        connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except ConnectionError:
        pass
    return False


def in_flight(flooded: Any) -> int:
    """Return how many requests the runner has."""
    request = wire.ListAliasRunnersRequest(alias="echo", list_pending=True)
    (found,) = flooded.plane.call("ListAliasRunners", request).runners
    return int(found.in_flight_requests)


@pytest.mark.parametrize(
    "begin", [b"", b"P", HALF_HEAD, b"\x16\x03\x01", HTTP2], ids=["0", "1", "half", "tls", "h2"]
)
def test_connections_that_come_to_nothing(flooded: Any, begin: bytes):
    """
    However many connections are opened, and however far each request comes, a client with a
    key is served at every door. Those that came first are closed; all of them in time.
    """
    with flood(flooded, begin, DOORS, MOST) as opened:
        be_served(flooded)
        be_served(flooded)
        flooded.settle(lambda: sum(map(is_open, opened)) < MOST)
        assert not is_open(opened[0])
        flooded.settle(lambda: not any(map(is_open, opened)))
    log = flooded.plane.program.errors.read_text()
    # Again and again within a minute, and logged once.
    assert log.count("To make room, those that came first are closed") == 1
    assert "Traceback" not in log


@pytest.mark.parametrize("begin", [HALF_BODY, HALF_CHUNK], ids=["length", "chunks"])
def test_half_bodies(flooded: Any, begin: bytes):
    """Requests whose body has not come yet have no place at a runner, and are ended in time."""
    with flood(flooded, begin, ("run", "queue"), 8) as opened:
        be_served(flooded)
        assert in_flight(flooded) == 0
        flooded.settle(lambda: not any(map(is_open, opened)))
        for connection in opened:
            connection.setblocking(True)
            assert connection.recv(65536).startswith(b"HTTP/1.1 408")


def test_large_bodies_that_stall(flooded: Any):
    """
    The sender of a large body, which has a place at a runner when half of it has come, does
    not keep that for long.
    """
    begin = HALF_BODY.replace(b"1000", b"1000000") + bytes(400_000)
    with flood(flooded, begin, ("run",), 2) as opened:
        flooded.settle(lambda: in_flight(flooded) == 1)
        be_served(flooded)
        flooded.settle(lambda: not any(map(is_open, opened)))


def test_responses_that_nobody_reads(flooded: Any):
    """A client that does not read its response keeps no place at a runner."""
    begin = b"POST /owner/echo/endless HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    with flood(flooded, begin, ("run",), 2):
        flooded.settle(lambda: in_flight(flooded) == 1)
        be_served(flooded)
        assert in_flight(flooded) == 0


def test_websockets_that_say_nothing(flooded: Any):
    """A websocket without a key over which nothing is said keeps no place at a runner."""
    with flood(flooded, UPGRADE, ("run",), 2):
        flooded.settle(lambda: in_flight(flooded) == 1)
        be_served(flooded)
        assert in_flight(flooded) == 0


def begin_message(size: int) -> bytes:
    """Return the beginning of a message of *size* bytes over a websocket, without its content."""
    return b"\x82\xff" + struct.pack("!Q", size) + bytes(4)


def read_close(connection: socket.socket) -> int:
    """Return the code with which the server closes a websocket."""
    connection.setblocking(True)
    received = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(1 << 16):
            received += part
    _, _, close = received.rpartition(b"\x88")
    assert len(close) >= 3, received
    return int.from_bytes(close[1:3], "big")


@pytest.mark.parametrize("door", ["ws", "run"])
def test_websocket_messages_that_are_too_large(flooded: Any, door: str):
    """A websocket without a key is closed as soon as it announces a large message."""
    with flood(flooded, UPGRADE + begin_message(60 << 20), (door,), 2) as opened:
        assert [read_close(each) for each in opened] == [1009, 1009]
        be_served(flooded)


@pytest.mark.parametrize("door", ["ws", "run"])
@pytest.mark.parametrize(
    "begin",
    [begin_message(1000) + b"x", b"\x82", b"\2\x81\0\0\0\0x"],
    ids=["1", "head", "part"],
)
def test_websocket_messages_that_stall(flooded: Any, door: str, begin: bytes):
    """A websocket whose message does not come is closed in time, however it has begun."""
    with flood(flooded, UPGRADE + begin, (door,), 2) as opened:
        be_served(flooded)
        assert [read_close(each) for each in opened] == [1008, 1008]


def test_websocket_messages_together(flooded: Any):
    """
    The messages of all websockets without a key take no more memory than they may together,
    and what is answered makes room.
    """
    size = HELD // 5
    with flood(flooded, UPGRADE + begin_message(size) + bytes(size - 1), ("ws",), 3) as opened:
        be_served(flooded)
        codes = Counter(read_close(each) for each in opened)
    # Try again later; or it has stalled.
    assert codes == {1013: 1, 1008: 2}
    message = UPGRADE + begin_message(size) + bytes(size)
    for _ in range(4):
        with flood(flooded, message, ("ws",), 1) as [connection]:
            received = b""
            while b'"type": "end"' not in received:
                received += connection.recv(1 << 16)
            assert b'"status": 200' in received


@contextlib.contextmanager
def occupied(flooded: Any) -> Iterator[None]:
    """Occupy the only runner of an application."""
    held = flooded.submit("gated/hold", {"gate": "gated"})
    flooded.begin("gated", held)
    try:
        yield
    finally:
        flooded.open("gated")
        flooded.finish("gated", held)
        (flooded.folder / "gated").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("size", "least"), [(1, WAITING // 2), (300_000, 2)], ids=["many", "large"]
)
def test_requests_that_wait(flooded: Any, size: int, least: int):
    """
    Requests without a key that wait for a runner are limited, in number and in bytes. Others
    are told to come back, those that wait are answered, and who has a key waits too.
    """
    body = b'{"text": "%b"}' % (b"x" * size)
    begin = b"POST /owner/gated HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    begin += body
    with (
        ThreadPoolExecutor(1) as threads,
        flooded.client("run") as client,
        occupied(flooded),
        flood(flooded, begin, ("run",), least + 3) as opened,
    ):
        flooded.settle(lambda: sum(map(is_open, opened)) == least)
        for each in opened:
            if not is_open(each):
                answer = each.recv(1 << 16)
                assert answer.startswith(b"HTTP/1.1 429")
                assert b"Retry-After: " in answer
        kept = threads.submit(client.post, "/owner/gated", json={"name": "kept"})
        flooded.settle(lambda: flooded.waiting("gated") == least + 1)
        flooded.open("gated")
        assert kept.result().json()["told"] == {"name": "kept"}
    assert flooded.waiting("gated") == 0


def test_connections_of_clients_with_a_key_stay(flooded: Any):
    """A connection whose client has shown a key is not closed to make room, be it HTTP or gRPC."""
    states: list[Any] = []
    with (
        grpc.insecure_channel(f"127.0.0.1:{flooded.plane.ports['api']}") as channel,
        flooded.client("run") as kept,
    ):
        call = channel.unary_unary(
            "/controller.IsolateController/ListSecrets", request_serializer=bytes
        )
        shown = to_metadata(flooded.plane.key)
        assert call(b"", metadata=shown, timeout=60) == b""
        assert kept.post("/owner/echo", content=b"words").content == b"words"
        [pooled] = kept._transport._pool.connections
        channel.subscribe(states.append)
        with flood(flooded, HALF_HEAD, ("run",), 2 * MOST) as opened:
            flooded.settle(lambda: not is_open(opened[0]))
            assert kept.post("/owner/echo", content=b"words").content == b"words"
            assert [pooled] == kept._transport._pool.connections
            assert call(b"", metadata=shown, timeout=60) == b""
    assert set(states) == {grpc.ChannelConnectivity.READY}


@pytest.mark.skipif(sys.platform != "linux", reason="Limits of others are set on Linux alone.")
def test_no_more_open_files(flooded: Any):
    """
    A server that may open no more files closes those that came first too, and does nothing
    while there is nothing to close.
    """
    import resource

    pid = flooded.plane.program.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    be_served(flooded)
    taken = {int(each) for each in os.listdir(f"/proc/{pid}/fd")}
    # The limit is one of the numbers of files, of which the lowest that is free is taken.
    free = (number for number in itertools.count() if number not in taken)
    limit = next(itertools.islice(free, ROOM, None))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        with flood(flooded, HALF_HEAD, ("run", "api"), MOST // 2) as opened:
            # There is room for so few that the flood, while it comes, may close any of them.
            flooded.settle(lambda: not is_open(opened[0]) and _is_served(flooded))
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    log = flooded.plane.program.errors.read_text()
    assert "No connection could be opened: Too many open files." in log
