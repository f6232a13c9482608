"""Services in containers: one port of this machine leads to each."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from fal_core import Cancelled
from fal_core.errors import HostError
from fal_core_worker.serving.ports import free_port, is_free
from fal_host_local import PortTaken
from fal_testing.harness.processes import wait_until

pytestmark = pytest.mark.faults

PATIENCE = 60


def test_a_server_of_the_function_is_reached(contained: Any, engine: Any):
    """
    Two functions may listen on the same port, since each has a network of its own. The first
    has it on this machine too; their containers are gone once they are cancelled.
    """
    port = free_port()

    @contained(exposed_port=port)
    def answer(word: str) -> None:
        from http.server import BaseHTTPRequestHandler, HTTPServer

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(word.encode())

            def log_message(self, *arguments: object) -> None: ...

        HTTPServer(("0.0.0.0", port), Handler).serve_forever()

    services = [answer.spawn(word) for word in ("one", "other")]
    try:
        found = []
        for service in services:
            with urllib.request.urlopen(service.url, timeout=PATIENCE) as response:
                found.append(response.read().decode())
        assert found == ["one", "other"]
        first, other = (service.url for service in services)
        assert first == f"http://127.0.0.1:{port}"
        assert first != other
    finally:
        for service in services:
            service.cancel()
    assert wait_until(lambda: not engine.containers(), PATIENCE)


#: What wheels of compiled packages expect of any Linux, by the stems of file names.
COMMON = ("libgcc_s", "librt", "libpthread", "libdl", "libutil", "libstdc++")


@pytest.fixture
def whole_image(engine: Any, image: str) -> str:
    """An image whose Python can load what wheels have compiled."""
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
    """What serves it is installed on top of the image, and listens where the port leads."""

    @contained(image=whole_image, serve=True)
    def greet() -> str:
        return "hello"

    service = greet.spawn()
    assert ask(service.url) == '"hello"'
    service.stream.drain()
    assert service.return_value is None


def ask(url: str) -> str:
    request = urllib.request.Request(url, method="POST")
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        return str(response.read().decode())


def test_a_service_is_at_the_port_that_it_wants(contained: Any, whole_image: str, engine: Any):
    """
    The port of this machine that is published is the one that the function names, and no other
    service gets it meanwhile; the network is the engine's.
    """
    port, metrics = free_port(), free_port()

    @contained(image=whole_image, serve=True, exposed_port=port, metrics_port=metrics)
    def list_networks() -> list[str]:
        import socket

        return [name for _, name in socket.if_nameindex()]

    service = list_networks.spawn()
    assert service.url == f"http://127.0.0.1:{port}"
    assert json.loads(ask(service.url)) == ["lo", "eth0"]
    [running] = engine.run("ps", "--quiet").split()
    published = {f"{each}/tcp -> 127.0.0.1:{each}" for each in (port, metrics)}
    assert set(engine.run("port", running).splitlines()) == published
    with pytest.raises(PortTaken, match="'list_networks'"):
        list_networks.spawn()
    service.cancel()
    with pytest.raises(Cancelled):
        service.future.result(PATIENCE)
    assert is_free(port)


def test_a_service_without_a_network_is_an_error(contained: Any):
    """Nothing could reach it, and the error says so."""

    @contained(exposed_port=8765, network=False)
    def never() -> None: ...

    with pytest.raises(HostError, match="cannot be reached"):
        never()
