"""Laws of functions that bring a server of their own, at the port that they expose."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any

from fal_core.errors import Timeout
from fal_core.events import Exited
from fal_core_worker.serving.ports import free_port
from fal_testing.harness.capabilities import requires
from fal_testing.harness.expectations import (
    expect,
    expect_cancelled,
    expect_error,
    expect_printed,
    result_of,
)
from fal_testing.harness.marks import Isolated
from fal_testing.harness.processes import wait_until
from fal_testing.harness.recorders import Follow
from fal_testing.harness.requests import Response, ask, is_served

LOOK = (
    "Probe the port that the function exposes, and send Ready once it accepts connections, or "
    "its health check passes."
)


@requires("serve", "cancel")
def test_a_function_may_bring_its_own_server(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """
    A function with ``exposed_port`` is ready once its own server listens, not before, and
    no longer reachable once it is cancelled.
    """
    make = _make_serve()

    @isolated(exposed_port=free_port())
    def serve_itself(port: int) -> None:
        import time

        time.sleep(0.5)  # It must not be called ready before it listens.
        make(port)

    recorder = follow(serve_itself, serve_itself.options.gateway["exposed_port"])
    url = recorder.wait_for_url(law_timeout)
    expect(ask(url, law_timeout), Response(200, "POST /"), "The response of a server", LOOK)
    recorder.cancel(2.0)
    look = "Send Exited once the process of the server has ended."
    expect_cancelled(recorder, law_timeout, "a cancelled server", look)
    expect(is_served(url), False, "Whether a server answers after Exited", look)


@requires("serve", "cancel", "option health_check_config")
def test_a_server_may_say_itself_when_it_is_ready(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """With ``health_check_config`` the URL is reported after the first response of 2xx."""
    make = _make_serve()

    @isolated(exposed_port=free_port(), health_check_config={"path": "/up", "method": "POST"})
    def serve(port: int) -> None:
        make(port, refuse=3)

    recorder = follow(serve, serve.options.gateway["exposed_port"])
    answer = ask(recorder.wait_for_url(law_timeout), law_timeout)
    expect(answer, Response(200, "POST /"), "The response of a server", LOOK)
    wait_until(lambda: len(recorder.printed) >= 4, law_timeout)
    asked = [log.message for log in recorder.printed]
    checks = ["POST /up 503", "POST /up 503", "POST /up 503", "POST /up 200"]
    expect(asked[:4], checks, "The health checks that the server was asked", LOOK)


@requires("serve")
def test_a_service_that_fails_to_start_raises_what_it_raised(
    isolated: Isolated, law_timeout: float
) -> None:
    """Waiting for the URL of a service raises the error that kept it from starting."""

    @isolated(exposed_port=free_port())
    def serve() -> None:
        raise LookupError("no model")

    info = serve.spawn()
    waiting: Future[Any] = Future()
    threading.Thread(target=_wait_for_url, args=(info, waiting), daemon=True).start()
    look = "End the call with its outcome also where it was never ready."
    with expect_error(LookupError, look, match="no model"):
        result_of(waiting, law_timeout, "whoever waits for the URL of a service")


@requires("serve", "cancel", "option startup_timeout")
def test_a_service_that_never_starts_is_ended(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """
    A service that is not ready within ``startup_timeout`` ends with an error that says
    so, after the lines that it printed.
    """

    def serve() -> None:
        import time

        print("loading")
        time.sleep(600)

    # On a busy machine the shorter time may end before the line is printed.
    for seconds in (max(2.0, law_timeout / 10), law_timeout / 2):
        port = free_port()
        recorder = follow(isolated(exposed_port=port, startup_timeout=seconds)(serve))
        exited: Exited = recorder.wait(law_timeout + seconds)
        reason = exited.reason
        found = reason.seconds if isinstance(reason, Timeout) else reason
        look = "End a service that is not ready within startup_timeout with Timeout."
        expect(found, seconds, "The seconds of the Timeout in Exited", look)
        if recorder.printed:
            break
    expect_printed(recorder, ["loading"], "Pass on each Log before Exited.")
    expect(
        "ready" in recorder.phases,
        False,
        "Whether a service that never started was called ready",
        LOOK,
    )


def _wait_for_url(info: Any, waiting: Future[Any]) -> None:
    try:
        waiting.set_result(info.url)
    except BaseException as error:
        waiting.set_exception(error)


def _make_serve() -> Any:
    # A function made here travels by value: the worker needs nothing of ours.
    def serve(port: int, refuse: int = 0) -> None:
        import http.server

        left = [503] * refuse

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status = left.pop() if left and self.path == "/up" else 200
                body = f'"{self.command} {self.path}"'.encode()
                if self.path == "/up":
                    print(self.command, self.path, status)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *args: object) -> None:
                pass

        # Not ``HTTPServer``, which looks up the name of this machine.
        import socketserver

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = daemon_threads = True

        with Server(("0.0.0.0", port), Handler) as server:
            server.serve_forever()

    return serve
