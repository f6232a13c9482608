"""
Laws of services: functions that are reached from outside.
"""

from __future__ import annotations

from urllib.request import urlopen

from fal_core.events import Ready
from fal_core.testing.capabilities import requires
from fal_core.testing.fixtures import Follow
from fal_core.testing.marks import Isolated


@requires("serve", "cancel")
def test_a_function_with_its_own_server_is_reached(
    isolated: Isolated, follow: Follow, free_port: int, law_timeout: float
) -> None:
    """
    A function that listens on its ``exposed_port`` is told to be ready, and where.
    """

    @isolated(exposed_port=free_port)
    def serve(port: int) -> None:
        import http.server

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"reached")

        http.server.HTTPServer(("", port), Handler).serve_forever()

    recorder = follow(serve, free_port)
    ready: Ready = recorder.wait_for(Ready, law_timeout)
    with urlopen(ready.urls["run"], timeout=law_timeout) as response:
        assert response.read() == b"reached"


@requires("serve")
def test_a_service_that_is_drained_ends(
    isolated: Isolated, follow: Follow, free_port: int, law_timeout: float
) -> None:
    """
    Draining a service ends it, without an error of the host.
    """

    @isolated(exposed_port=free_port)
    def serve(port: int) -> None:
        import http.server

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()

        http.server.HTTPServer(("", port), Handler).serve_forever()

    recorder = follow(serve, free_port)
    recorder.wait_for(Ready, law_timeout)
    assert recorder.execution is not None
    recorder.execution.drain()
    recorder.wait(law_timeout)
