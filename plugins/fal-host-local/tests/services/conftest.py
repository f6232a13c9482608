"""Fixtures of the tests of services."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fal_core import Cancelled, function
from fal_core_worker.serving import networks, ports
from fal_host_local import LocalHost

PATIENCE = 60.0


@pytest.fixture
def port() -> int:
    """A free port."""
    return ports.free_port()


@pytest.fixture
def make_server() -> Callable[..., Any]:
    """Makes a function that responds to requests on a port with its argument."""
    return _make_server


def _make_server(host: LocalHost, port: int, **options: Any) -> Any:
    @function("current", host=host, exposed_port=port, **options)
    def serve(name: str, statuses: list[int] | None = None, child: bool = False) -> None:
        import http.server
        import socketserver

        statuses = list(statuses or [])
        if child:
            # A child that ends by being killed, with its service.
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status = 200
                if self.path == "/health":
                    status = statuses.pop(0) if statuses else 200
                    print(self.command, self.path, status)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(f"{name} {os.getpid()}".encode())

            def log_message(self, *args: object) -> None:
                pass

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = daemon_threads = True

        with Server(("127.0.0.1", port), Handler) as server:
            server.serve_forever()

    return serve


@pytest.fixture
def ask() -> Callable[[str], list[str]]:
    """Asks the service at a url for its name and its process."""
    return _ask


def _ask(url: str) -> list[str]:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        return answer.read().decode().split()


@pytest.fixture
def wait_for_end() -> Callable[[Any], None]:
    """Cancels a service and waits until it has ended."""
    return _wait_for_end


def _wait_for_end(info: Any) -> None:
    info.cancel()
    with pytest.raises(Cancelled):
        info.future.result(PATIENCE)


@pytest.fixture(autouse=True)
def _forget_what_is_missing() -> Iterator[None]:
    """Have each test find out itself whether this machine has network namespaces."""
    yield
    networks.missing.cache_clear()
