"""Floods of large bodies: a server takes what it has room for, and serves others meanwhile."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any

import httpx
import pytest
from isolate_proto import controller_pb2 as wire
from process_memory import peak_of

pytestmark = pytest.mark.faults

MIB = 1 << 20

#: The largest body, what all bodies of an application may take, and how much memory the server
#: may take more than without the flood.
BODY, QUEUE, MEMORY = 12 * MIB, 80 * MIB, 64 * MIB

#: How many clients send bodies, and how many each of them sends.
CLIENTS, BODIES = 16, 6


@pytest.fixture(scope="module")
def flooded(make_standing: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server with low limits, and two public applications."""
    limits = {"largest-queued-body": BODY, "largest-queue": QUEUE, "most-queued": 1000}
    arguments = [part for name, value in limits.items() for part in (f"--{name}", str(value))]
    standing = make_standing(tmp_path_factory.mktemp("flooded"), *arguments)
    for name in ("flooded", "quiet"):
        standing.deploy(name, auth_mode=wire.PUBLIC)
    return standing


def flood(standing: Any, key: str | None, *, is_announced: bool) -> Counter[int]:
    """Send large bodies, and return how many responses there were of each status."""
    found: Counter[int] = Counter()
    content = b'{"text": "' + b"x" * (BODY - 12) + b'"}'
    for _ in range(BODIES):
        body: Any = content if is_announced else iter([content[:MIB], content[MIB:]])
        # The server may refuse it before it has read it.
        with suppress(httpx.TransportError), standing.client(key=key) as client:
            found[client.post("/owner/flooded", content=body).status_code] += 1
    return found


def begin_half(standing: Any) -> socket.socket:
    """Send the half of a request, and leave the connection open."""
    connection = socket.create_connection(("127.0.0.1", standing.plane.ports["queue"]))
    head = f"POST /owner/flooded HTTP/1.1\r\nHost: x\r\nContent-Length: {BODY}\r\n\r\n"
    connection.sendall(head.encode() + bytes(MIB))
    return connection


def stored(standing: Any) -> int:
    """Return the bytes of the files with bodies."""
    sizes = []
    for path in (standing.plane.data / "requests").iterdir():
        with suppress(FileNotFoundError):
            sizes.append(path.stat().st_size)
    return sum(sizes)


@pytest.mark.skipif(sys.platform != "linux", reason="The peak of memory is read from /proc.")
def test_flood_of_large_bodies(flooded: Any):
    """
    Many clients, with and without a key, send large bodies to an application whose runner is
    occupied. The server takes what fits its limits and refuses the rest, its memory stays
    bounded, and an honest client is served meanwhile. What was accepted is answered.
    """
    held = flooded.submit("flooded/hold", {"gate": "flood"})
    flooded.begin("flooded", held)
    flooded.finish("quiet", flooded.submit("quiet"))
    pid = flooded.plane.program.process.pid
    before = peak_of(pid)
    served = 0
    with ExitStack() as ends, ThreadPoolExecutor(CLIENTS) as threads:
        for _ in range(8):
            ends.enter_context(begin_half(flooded))
        floods: list[Future[Counter[int]]] = [
            threads.submit(
                flood, flooded, None if number % 2 else "", is_announced=number % 4 < 2
            )
            for number in range(CLIENTS)
        ]
        while not all(each.done() for each in floods) or not served:
            answer = flooded.finish("quiet", flooded.submit("quiet", {"name": "honest"}))
            assert answer.json()["told"] == {"name": "honest"}
            assert stored(flooded) <= QUEUE
            served += 1
        statuses = sum((each.result() for each in floods), Counter[int]())
        # Half requests take room, and make it again.
        assert {*statuses} <= {200, 429}, statuses
        assert statuses[200] <= QUEUE // BODY
        assert peak_of(pid) - before < MEMORY
    flooded.open("flood")
    assert flooded.finish("flooded", held).status_code == 200
    flooded.settle(lambda: flooded.submit("flooded", {"text": "x" * (BODY // 2)}))


def test_server_that_is_killed_while_bodies_arrive(flooded: Any):
    """
    After SIGKILL while large bodies arrive, the accepted ones are answered as they came, and
    nothing is left of the others.
    """
    accepted: dict[str, str] = {}
    ended = threading.Event()

    def send(letter: str) -> None:
        told = {"text": letter * MIB}
        while not ended.is_set():
            with suppress(httpx.TransportError), flooded.client() as client:
                answer = client.post("/owner/quiet", json=told)
                if answer.status_code == 200:
                    accepted[answer.json()["request_id"]] = letter

    threads = [threading.Thread(target=send, args=[letter]) for letter in "abcd"]
    for thread in threads:
        thread.start()
    try:
        for _ in range(2):
            count = len(accepted)
            flooded.settle(lambda count=count: len(accepted) > count + 2)
            flooded.plane.kill()
            flooded.plane.start()
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    for request, letter in accepted.items():
        answer = flooded.finish("quiet", request)
        assert json.loads(answer.content)["told"] == {"text": letter * MIB}
    flooded.plane.close()
    flooded.plane.start()
    folder = flooded.plane.data / "requests"
    flooded.settle(lambda: not any(path.suffix == ".body" for path in folder.iterdir()))


@pytest.fixture(autouse=True)
def _ended(flooded: Any) -> Iterator[None]:
    """Let no request hold a runner after the test."""
    yield
    flooded.open("flood")
