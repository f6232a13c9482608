"""Fixtures of the tests of the gateways."""

from __future__ import annotations

import base64
import gzip
import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from isolate_proto import controller_pb2 as wire


def make_mirror() -> Callable[..., None]:
    """Return an application that responds with the request that it got, byte by byte."""

    def serve(*, exposed_port: int, exposed_metrics_port: int = 0) -> None:
        import time
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(size)
                received = {
                    "path": self.path,
                    "body": base64.b64encode(body).decode(),
                    "headers": dict(self.headers),
                    "pid": os.getpid(),
                }
                answer = json.dumps(received).encode()
                if self.path.startswith("/sleep"):
                    # Longer than any request timeout of the tests.
                    time.sleep(60)
                if self.path.startswith("/half"):
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
                    self.close_connection = True
                    return
                self.send_response(200)
                if "gzip" in self.headers.get("Accept-Encoding", ""):
                    answer = gzip.compress(answer)
                    self.send_header("Content-Encoding", "gzip")
                if "X-Back" in self.headers:
                    self.send_header("X-Back", self.headers["X-Back"])
                self.send_header("Connection", "x-between, keep-alive")
                self.send_header("X-Between", "us")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def do_GET(self) -> None:
                """Refuse a websocket with the status that is the last word of the path."""
                self.send_response(int(self.path.rpartition("/")[2] or 404))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        ThreadingHTTPServer(("127.0.0.1", exposed_port), Handler).serve_forever()

    return serve


@pytest.fixture(name="make_mirror")
def _make_mirror() -> Callable[[], Callable[..., None]]:
    """Make an application that responds with the request that it got, byte by byte."""
    return make_mirror


@pytest.fixture(scope="module")
def mirror(served_plane: Any) -> str:
    """The name of an application that responds with the request that it got."""
    served_plane.deploy(
        "mirror", function=make_mirror(), auth_mode=wire.PUBLIC, max_multiplexing=8
    )
    return "mirror"
