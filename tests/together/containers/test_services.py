"""
Services in containers: one port of this machine leads to each.
"""

from __future__ import annotations

import urllib.request
from typing import Any

import pytest

from fal_core.errors import HostError
from fal_core.testing.harness.processes import wait_until

pytestmark = pytest.mark.faults

PATIENCE = 60


def test_a_server_of_the_function_is_reached(contained: Any, engine: Any):
    """
    Two functions may listen on the same port, since each has a network of its own; their
    containers are gone once they are cancelled.
    """

    @contained(exposed_port=8765)
    def answer(word: str) -> None:
        from http.server import BaseHTTPRequestHandler, HTTPServer

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(word.encode())

            def log_message(self, *arguments: object) -> None: ...

        HTTPServer(("0.0.0.0", 8765), Handler).serve_forever()

    services = [answer.spawn(word) for word in ("one", "other")]
    try:
        found = []
        for service in services:
            with urllib.request.urlopen(service.url, timeout=PATIENCE) as response:
                found.append(response.read().decode())
        assert found == ["one", "other"]
        assert len({service.url for service in services}) == 2
    finally:
        for service in services:
            service.cancel()
    assert wait_until(lambda: not engine.containers(), PATIENCE)


def test_a_service_without_a_network_is_an_error(contained: Any):
    """
    Nothing could reach it, and the error says so.
    """

    @contained(exposed_port=8765, network=False)
    def never() -> None: ...

    with pytest.raises(HostError, match="cannot be reached"):
        never()
