"""Services on nodes, as this machine reaches them."""

from __future__ import annotations

import socket
import urllib.request
from typing import Any

import pytest

from fal_core import attach, function
from fal_core.errors import Cancelled
from fal_host_ray import RayHost
from fal_testing.harness.processes import wait_until


def serve_words(port: int) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"words")

        def log_message(self, *_: Any) -> None:
            pass

    HTTPServer(("127.0.0.1", port), Handler).serve_forever()


def is_open(url: str) -> bool:
    port = int(url.rpartition(":")[2].rstrip("/"))
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return bytes(answer.read())


def test_service_is_reached_by_relays_and_tunnels(ray_host: RayHost, cluster: Any):
    """
    A detached service is reached at a port of this machine by each process that attaches, and
    through a tunnel by those who know its token alone. The ports are closed with the service.
    """
    port = 8791
    serving = function("current", host=ray_host, exposed_port=port)(serve_words)
    spawned = serving.with_policy(lifetime="detached").spawn(port)
    other = RayHost(cluster.address)
    try:
        url = spawned.await_url(60)
        assert url
        again = attach(other, spawned.reference)
        assert again.await_url(60)
        assert again.url != spawned.url
        assert read(str(spawned.url)) == read(str(again.url)) == b"words"

        tunnel = ray_host.find_tunnel(str(spawned.url))
        assert tunnel is not None
        assert ray_host.find_tunnel(str(again.url)) is None
        for greeting, begins in ((tunnel.greeting, b"HTTP"), (b"x" * 64 + b" follow\n", b"")):
            with socket.create_connection((tunnel.host, tunnel.port), 60) as connection:
                connection.sendall(greeting + b"GET / HTTP/1.0\r\n\r\n")
                try:
                    received = connection.recv(4)
                except ConnectionResetError:
                    received = b""
                assert received == begins
        again.cancel()
        assert spawned.future is not None
        with pytest.raises(Cancelled):
            spawned.future.result(timeout=60)
        assert wait_until(lambda: not is_open(str(spawned.url)), 60)
    finally:
        other.close()
