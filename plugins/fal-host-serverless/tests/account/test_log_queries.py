"""Queries for lines of logs."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest

from fal_core.errors import FalServerlessError
from fal_host_serverless.account import log_queries
from fal_host_serverless.account.credentials import KeyCredentials
from fal_host_serverless.wire.rest import RestClient


@pytest.fixture
def answers() -> Iterator[tuple[str, list[int]]]:
    """The URL of a server that answers with each of these status codes, and then with a line."""
    left: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status = left.pop(0) if left else 200
            body = f"data: {json.dumps({'timestamp': '1', 'message': 'a'})}\n\n".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", left
    server.shutdown()
    thread.join()
    server.server_close()


class Served:
    """A service that is reached without TLS."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def shared_rest(self) -> Any:
        """Return a client of it."""
        rest = RestClient("127.0.0.1:1", KeyCredentials("id", "secret"))
        rest.http = self._http
        return rest


def test_log_goes_on_after_a_proxy_without_a_server(
    answers: tuple[str, list[int]], monkeypatch: pytest.MonkeyPatch
):
    """
    Who follows a log waits while a proxy says that its server is away, and not for ever;
    other errors end the log at once.
    """
    monkeypatch.setattr(log_queries, "_PAUSE", 0.0)
    url, left = answers
    with httpx.Client(base_url=url) as http:
        service: Any = Served(http)
        left += [502, 503, 504]
        lines = log_queries.LogQuery().follow(service, None)
        assert next(lines)["message"] == "a"
        left.append(401)
        with pytest.raises(FalServerlessError, match="answers 401"):
            next(lines)
        monkeypatch.setattr(log_queries, "_PATIENCE", -1.0)
        left.append(503)
        with pytest.raises(FalServerlessError, match=r"The log broke off: .*503"):
            next(log_queries.LogQuery().follow(service, None))
