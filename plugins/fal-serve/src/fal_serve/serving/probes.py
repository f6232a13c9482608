"""Probes: whether a service is alive, started and ready, answered on a thread of its own."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from fal_serve.answering.metrics import ServiceMetrics


class Phase:
    """
    The phase of a service's life.

    Attributes:
        started: Whether ``setup`` has ended.

        not_ready: Why no request should be sent; empty if the service is ready.

        not_alive: Why it should be restarted; empty if it is alive.
    """

    def __init__(self) -> None:
        self.started: bool = False
        self.not_ready: str = "The setup has not ended."
        self.not_alive = ""

    def begin(self) -> None:
        """Become ready."""
        self.started = True
        self.not_ready = ""

    def drain(self) -> None:
        """Stop being ready."""
        self.not_ready = "The service is draining."

    def answer(self, probe: str) -> tuple[int, dict[str, Any]] | None:
        """Return the status and body of the response to *probe*, or None if it is unknown."""
        reasons = {
            "/live": self.not_alive,
            "/ready": self.not_ready,
            "/startup": "" if self.started else self.not_ready,
        }
        if probe not in reasons:
            return None
        reason = reasons[probe]
        facts: dict[str, Any] = {probe[1:]: not reason}
        if reason:
            facts["reason"] = reason
        return (503 if reason else 200), facts


class ProbeHandler(BaseHTTPRequestHandler):
    """Answers one connection to the port of metrics and probes."""

    server: ProbeServer
    # Seconds after which a silent connection is closed.
    timeout: ClassVar[float | None] = 10

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            # Version 0.0.4 of the text format of Prometheus.
            kind, body = "text/plain; version=0.0.4; charset=utf-8", self.server.metrics.text()
            status = 200
        else:
            status, facts = self.server.phase.answer(path) or (404, {"detail": "Not Found"})
            kind, body = "application/json", json.dumps(facts).encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: probes come every few seconds."""


class ProbeServer(ThreadingHTTPServer):
    """
    Answers metrics and probes even while the event loop is blocked.

    Arguments:
        listener: A bound socket, which is closed with the server.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, listener: socket.socket, metrics: ServiceMetrics, phase: Phase) -> None:
        super().__init__(("", 0), ProbeHandler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.metrics = metrics
        self.phase = phase
        self.server_activate()
        self._ended = False
        self._thread = threading.Thread(
            target=self._accept, name="fal_serve probes", daemon=True
        )

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that has disconnected."""

    def _accept(self) -> None:
        while True:
            self.handle_request()
            if self._ended:
                return

    def __enter__(self) -> ProbeServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        # Connect once, as the thread sleeps until somebody does.
        with contextlib.suppress(OSError), socket.socket(self.socket.family) as visitor:
            visitor.settimeout(1)
            visitor.connect(self.socket.getsockname())
        self._thread.join(1)
        self.server_close()
