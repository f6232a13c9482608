"""Clients that go while they are answered: the runner learns it, and nothing is left."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from isolate_proto import controller_pb2 as wire

pytestmark = pytest.mark.faults

COUNT = 20


def make_stream(folder: str) -> Callable[..., None]:
    """Return an application that writes until its client disconnects, and then leaves a file."""

    def serve(*, exposed_port: int, exposed_metrics_port: int = 0) -> None:
        import pathlib
        import time
        import uuid
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                try:
                    while True:
                        self.wfile.write(b"5\r\nwords\r\n")
                        # Endless, but no busy loop.
                        time.sleep(0.01)
                except OSError:
                    (pathlib.Path(folder) / f"left-{uuid.uuid4()}").touch()
                    self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

        ThreadingHTTPServer(("127.0.0.1", exposed_port), Handler).serve_forever()

    return serve


def test_clients_that_go_while_they_are_answered(standing: Any):
    """
    A client that goes in the middle of an answer ends its request at the runner, and
    gives its place back; the server holds nothing of it.
    """
    standing.deploy(
        "stream", function=make_stream(str(standing.folder)), max_multiplexing=COUNT
    )
    place = Path(f"/proc/{standing.plane.program.process.pid}/fd")

    def leave() -> None:
        with standing.client("run") as client:
            for _ in range(COUNT):
                with client.stream("POST", "/owner/stream") as answer:
                    assert next(answer.iter_raw()).startswith(b"words")

    def in_flight() -> int:
        request = wire.ListAliasRunnersRequest(alias="stream", list_pending=True)
        (found,) = standing.plane.call("ListAliasRunners", request).runners
        return int(found.in_flight_requests)

    def sockets() -> int:
        held = 0
        for each in place.iterdir():
            # What is read here may be closed meanwhile.
            with suppress(FileNotFoundError):
                held += str(each.readlink()).startswith("socket:")
        return held

    def left() -> int:
        return len(list(standing.folder.glob("left-*")))

    leave()
    standing.settle(lambda: left() == COUNT and in_flight() == 0)
    before = sockets()
    leave()
    standing.settle(lambda: left() == 2 * COUNT and in_flight() == 0)
    standing.settle(lambda: sockets() <= before)
