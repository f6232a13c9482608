"""Runners whose functions write to what connects them with the server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from isolate_proto import HostedRun
from isolate_proto.controller_pb2_grpc import IsolateControllerStub
from process_memory import memory_of
from programs import to_metadata
from served import fill

from fal_core.caches import cache_root
from fal_core_worker.stream.frames import HEADER, LOG, OUTCOME, READY, VERSION
from fal_core_worker.stream.payloads import pack_lines, pack_texts
from fal_testing.harness.processes import is_alive

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(sys.platform != "linux", reason="Memory is read from /proc."),
]

#: The largest result that the server reads, in bytes.
LARGEST = 1 << 20


def framed(kind: int, payload: bytes, length: int | None = None, call: int = 1) -> bytes:
    """Return a frame of a call of a worker, of the first unless told otherwise, with any length."""
    size = len(payload) if length is None else length
    return HEADER.pack(kind, VERSION, 0, call, 0, 0, size) + payload


def made_lines(text: str, call: int = 1) -> bytes:
    """Return what a call has printed, as a worker sends it."""
    return b"".join(pack_lines([(0, 1.0, call, "", text)]))


@pytest.fixture(scope="module")
def attacked(make_standing: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server with an application that is served while others misbehave."""
    root = tmp_path_factory.mktemp("attacked")
    standing = make_standing(root, "--largest-result", str(LARGEST))
    standing.deploy("neighbour")
    assert answers(standing, "neighbour") == 200
    return standing


def answers(standing: Any, app: str, path: str = "") -> int:
    """Return the status of a request to an application."""
    with standing.client("run") as client:
        return int(client.post(f"/owner/{app}{path}", json={}).status_code)


def make_sender(data: bytes, *, endless: bool = False) -> Callable[[], None]:
    """Return a function that writes *data* to the stream of its worker, once or without end."""
    begun = framed(LOG, made_lines("writing")) if endless else b""

    def send() -> None:
        import time

        from fal_core_worker import current

        # pytest rewrites assertions, and is not there.
        runtime: Any = current.runtime
        writer = runtime.stream.writer
        os.write(writer, begun)
        while endless:
            rest = data
            while rest:
                rest = rest[os.write(writer, rest) :]
        os.write(writer, data)
        # It is ended for what it has sent.
        time.sleep(600)

    return send


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\xff" * 100, "version 255"),
        (framed(OUTCOME, b"", 3 << 30), "announces 3221225472 bytes, of at most 67108864"),
        (framed(LOG, b"\xff" * 30), "longer than the frame"),
        (framed(READY, pack_texts({"control": "file:///etc"})), "what is no URL"),
    ],
    ids=["rubbish", "announcement", "output", "urls"],
)
def test_function_that_writes_to_its_stream(attacked: Any, data: bytes, what: str):
    """
    The runner is ended, its caller is told why, and the server takes no memory for what was
    announced.
    """
    pid = attacked.plane.program.process.pid
    before = memory_of(pid)
    with pytest.raises(grpc.RpcError, match=what):
        attacked.run(make_sender(data))
    assert memory_of(pid) - before < 64 << 20
    assert answers(attacked, "neighbour") == 200


def test_result_that_is_too_large(attacked: Any):
    """A result that is larger than the limit is not read, and its caller is told."""

    def make_result() -> bytes:
        return bytes(2 << 20)

    def make_less() -> int:
        return len(bytes(2 << 20))

    with pytest.raises(grpc.RpcError, match=f"of at most {LARGEST}"):
        attacked.run(make_result)
    assert attacked.run(make_less) == 2 << 20


@pytest.mark.parametrize("call", [1, 9], ids=["own", "none"])
def test_function_that_prints_without_end(attacked: Any, call: int):
    """
    A flood of output waits for the server, and not in its memory; others are served
    meanwhile. Nothing of it is printed by the server, even if it belongs to no call.
    """
    pid = attacked.plane.program.process.pid
    before = memory_of(pid)
    lines = made_lines("\n" * 60_000 + "x" * 60_000, call)

    def run() -> None:
        for _ in range(20):
            assert answers(attacked, "neighbour") == 200
            assert memory_of(pid) - before < 256 << 20

    stop = flood(attacked, framed(LOG, lines, call=call))
    try:
        run()
    finally:
        stop()
    assert attacked.plane.program.unread() == 0


def flood(standing: Any, data: bytes) -> Callable[[], None]:
    """Begin to run a function that sends *data* without end; return what cancels it."""
    request = HostedRun(application_name="flood")
    fill(request, make_sender(data, endless=True))
    channel = grpc.insecure_channel(f"127.0.0.1:{standing.plane.ports['api']}")
    stub = IsolateControllerStub(channel)
    call = stub.Run(request, metadata=to_metadata(standing.plane.key))
    # It runs once its first line has come.
    for message in call:
        if any(line.message == "writing" for line in message.logs):
            break

    def stop() -> None:
        call.cancel()
        channel.close()

    return stop


def make_breaking(data: bytes) -> Callable[..., None]:
    """Return an application that writes *data* to the stream of its worker on request."""

    def serve(*, exposed_port: int, exposed_metrics_port: int = 0) -> None:
        from http.server import BaseHTTPRequestHandler, HTTPServer

        from fal_core_worker import current

        runtime: Any = current.runtime

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                if self.path.endswith("/break"):
                    os.write(runtime.stream.writer, data)
                body = str(os.getpid()).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        HTTPServer(("127.0.0.1", exposed_port), Handler).serve_forever()

    return serve


def ask(standing: Any, app: str, path: str = "") -> httpx.Response:
    with standing.client("run") as client:
        return client.post(f"/owner/{app}{path}", json={})


def test_application_that_writes_to_its_stream(attacked: Any):
    """Its runner is ended and replaced; waiting clients and the log are told."""
    attacked.deploy("breaking", function=make_breaking(b"\xff" * 100))
    first = int(ask(attacked, "breaking").text)
    ask(attacked, "breaking", "/break")
    attacked.settle(lambda: not is_alive(first))
    attacked.settle(lambda: ask(attacked, "breaking").status_code == 200)
    assert int(ask(attacked, "breaking").text) != first
    attacked.settle(
        lambda: any("what cannot be read" in line for line in attacked.lines("breaking"))
    )
    assert answers(attacked, "neighbour") == 200


def record_of(pid: int) -> Path:
    """Return the record of the detached work that runs in a process."""
    parents = set()
    while pid > 1:
        parents.add(pid)
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    found = {}
    for path in (Path(cache_root()) / "executions").glob("runner-*/status.json"):
        status = json.loads(path.read_text())
        # Work that has ended may have had a process of the same number.
        if status.get("pid") in parents and "ended" not in status:
            found[status["started"]] = path.parent
    return found[max(found)]


def test_runner_whose_journal_cannot_be_read(
    make_standing: Any, tmp_path_factory: pytest.TempPathFactory
):
    """A server that finds such a runner ends and replaces it, and 'end-runners' ends it."""
    standing = make_standing(tmp_path_factory.mktemp("spoiled"))
    standing.deploy("spoiled", function=make_breaking(b""))

    def spoil() -> int:
        pid = int(ask(standing, "spoiled").text)
        with open(record_of(pid) / "journal", "r+b") as journal:
            journal.write(b"\xff" * 100)
        return pid

    first = spoil()
    standing.plane.close()
    standing.plane.start()
    standing.settle(lambda: not is_alive(first))
    standing.settle(lambda: ask(standing, "spoiled").status_code == 200)
    second = spoil()
    assert second != first
    standing.plane.close()
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "fal_core.cli", "server", "end-runners"),
            *("--data", str(standing.plane.data)),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.stdout == "1 runner has ended.\n", ended.stderr
    standing.settle(lambda: not is_alive(second))
