"""Open files: a server has more of them than what it starts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

#: How many files the server is allowed to open.
SOFT = 700

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="The limits of another process are read from /proc."
)


def make_teller() -> Callable[..., None]:
    """Return an application that answers with its limits."""

    def serve(*, exposed_port: int, exposed_metrics_port: int = 0) -> None:
        import json
        import resource
        from http.server import BaseHTTPRequestHandler, HTTPServer

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.send_response(200)
                self.end_headers()
                found = resource.getrlimit(resource.RLIMIT_NOFILE)
                self.wfile.write(json.dumps(found).encode())

            def log_message(self, *_: object) -> None:
                pass

        HTTPServer(("127.0.0.1", exposed_port), Handler).serve_forever()

    return serve


def tell() -> list[int]:
    """Return the limits of a runner."""
    import resource

    return list(resource.getrlimit(resource.RLIMIT_NOFILE))


def test_limit_of_a_server_is_its_own(make_standing: Any, tmp_path: Path):
    """
    A server may open as many files as the system lets it. Runners of functions and of
    applications have the limit that the server was given.
    """
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (SOFT, before[1]))
    try:
        standing = make_standing(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    pid = standing.plane.program.process.pid
    most = min(65_536, before[1]) if before[1] != resource.RLIM_INFINITY else 65_536
    assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (most, before[1])
    assert standing.run(tell) == [SOFT, before[1]]
    standing.deploy("teller", function=make_teller())
    with standing.client("run") as client:
        assert client.post("/owner/teller").json() == [SOFT, before[1]]
