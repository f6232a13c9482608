"""
Services in containers: one port of this machine leads to each.
"""

from __future__ import annotations

import os
import subprocess
import urllib.request
from pathlib import Path
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


#: What wheels of compiled packages expect of any Linux, by the stems of file names.
COMMON = ("libgcc_s", "librt", "libpthread", "libdl", "libutil", "libstdc++")


@pytest.fixture
def whole_image(engine: Any, image: str) -> str:
    """
    An image whose Python can load what wheels have compiled.
    """
    name = "localhost/tests/whole:1"
    found = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True).stdout
    paths = [line.rpartition(" => ")[2] for line in found.splitlines() if "x86-64" in line]
    made = engine.run("create", "--pull=never", image, "true")
    for path in map(Path, paths):
        if path.name.startswith(tuple(f"{stem}.so" for stem in COMMON)):
            engine.run("cp", os.path.realpath(path), f"{made}:/usr/lib/{path.name}")
    engine.run("commit", "--quiet", made, name)
    engine.run("rm", made)
    return name


def test_a_served_function_is_reached(contained: Any, whole_image: str):
    """
    What serves it is installed on top of the image, and listens where the port leads.
    """

    @contained(image=whole_image, serve=True)
    def greet() -> str:
        return "hello"

    service = greet.spawn()
    request = urllib.request.Request(service.url, method="POST")
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        assert response.read() == b'"hello"'
    service.stream.drain()
    assert service.return_value is None


def test_a_service_without_a_network_is_an_error(contained: Any):
    """
    Nothing could reach it, and the error says so.
    """

    @contained(exposed_port=8765, network=False)
    def never() -> None: ...

    with pytest.raises(HostError, match="cannot be reached"):
        never()
