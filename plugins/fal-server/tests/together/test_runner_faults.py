"""Runners that are killed or stopped, or that leak resources."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from isolate_proto import RegisterApplicationRequest
from isolate_proto import controller_pb2 as wire

from fal_server.fleet import runners
from fal_testing.harness.processes import is_alive

EVERY = os.environ.get("FAL_CORE_FAULTS") == "all"

pytestmark = pytest.mark.faults


def pid_of(served_plane: Any, app: str) -> int:
    """Return the process of a runner."""
    with served_plane.client("run") as client:
        return int(client.post(f"/owner/{app}/look", json={}).json()["pid"])


def test_runner_that_is_killed(served_plane: Any):
    """
    A killed runner does not affect its neighbour: waiting clients and the log get how it
    ended, and queued requests are begun again.
    """
    served_plane.deploy("killed", max_concurrency=1)
    served_plane.deploy("neighbour")
    neighbour = pid_of(served_plane, "neighbour")
    held = served_plane.submit("neighbour/hold", {"gate": "neighbour"})
    pid = pid_of(served_plane, "killed")
    queued = served_plane.submit(
        "killed/hold", {"gate": "killed"}, X_Fal_Queue_Priority="normal"
    )
    waiting = served_plane.submit("killed")
    served_plane.begin("killed", queued)
    os.kill(pid, signal.SIGKILL)
    served_plane.settle(lambda: served_plane.status("killed", queued).json()["attempts"] == 2)
    served_plane.open("killed")
    assert served_plane.finish("killed", queued).status_code == 200
    assert served_plane.finish("killed", waiting).status_code == 200
    served_plane.open("neighbour")
    assert served_plane.finish("neighbour", held).status_code == 200
    assert served_plane.status("neighbour", held).json()["attempts"] == 1
    assert pid_of(served_plane, "neighbour") == neighbour
    with served_plane.client("run") as client:
        answer = client.post("/owner/killed/die", json={"times": 9})
    assert answer.status_code == 503
    assert answer.json()["error_type"] == "runner_disconnected"
    assert "exited with code 9" in answer.json()["detail"]
    served_plane.settle(
        lambda: any("SIGKILL" in line for line in served_plane.lines("killed")),
        hint=lambda: served_plane.lines("killed"),
    )


def test_runner_that_is_stopped(served_plane: Any):
    """
    A runner that has stopped is noticed when a request takes too long: another takes its
    place, and its processes are ended.
    """
    served_plane.deploy("stopped", request_timeout=5)
    pid = pid_of(served_plane, "stopped")
    queued = served_plane.submit("stopped/hold", {"gate": "stopped"}, X_Fal_No_Retry="1")
    served_plane.begin("stopped", queued)
    os.kill(pid, signal.SIGSTOP)
    waiting = served_plane.submit("stopped")
    assert served_plane.finish("stopped", queued).json()["error_type"] == "request_timeout"
    served_plane.settle(lambda: not is_alive(pid))
    assert served_plane.finish("stopped", waiting).status_code in (200, 504)
    assert pid_of(served_plane, "stopped") != pid
    served_plane.settle(
        lambda: any("no longer answered" in line for line in served_plane.lines("stopped"))
    )


def test_supervisor_that_is_stopped(served_plane: Any, monkeypatch: pytest.MonkeyPatch):
    """
    A runner whose supervisor has stopped as well, so that nothing ends it, keeps no request
    waiting: another takes its place.
    """
    monkeypatch.setattr(runners, "_LONGEST_END", 1.0)
    served_plane.deploy("held", max_concurrency=1, request_timeout=5)
    pid = pid_of(served_plane, "held")
    stopped = [pid, *parents_of(pid)]
    for each in stopped:
        os.kill(each, signal.SIGSTOP)
    try:
        with served_plane.client("run") as client:
            assert client.post("/owner/held", json={}).status_code == 504
            # Until the runner is known not to answer, others wait for it as long.
            served_plane.settle(lambda: client.post("/owner/held", json={}).is_success)
        assert pid_of(served_plane, "held") != pid
    finally:
        for each in reversed(stopped):
            os.kill(each, signal.SIGCONT)
    served_plane.settle(lambda: not is_alive(pid))


def parents_of(pid: int) -> list[int]:
    """Return the processes of a runner above one of its processes, the nearest first."""
    found = []
    while True:
        status = Path(f"/proc/{pid}/status").read_text()
        pid = int(status.partition("PPid:\t")[2].split()[0])
        if pid == 1 or "fal_host_local" not in Path(f"/proc/{pid}/cmdline").read_text():
            return found
        found.append(pid)


@pytest.mark.skipif(not EVERY, reason="FAL_CORE_FAULTS=all runs what waits for long.")
def test_stopped_runner_fails_its_health_check(holder: Any, settle: Callable[..., None]):
    """A runner that has stopped is noticed by its health check, without a request."""
    health = RegisterApplicationRequest().health_check_config
    health.path, health.timeout_seconds, health.failure_threshold = "/health", 1, 1
    health.call_regularly = True
    holder.deploy("checked", health=health)
    pid = holder.ask("checked").json()["pid"]
    os.kill(pid, signal.SIGSTOP)
    settle(lambda: not is_alive(pid))
    assert holder.ask("checked").json()["pid"] != pid


def make_leaker(folder: str) -> Callable[..., None]:
    """
    Return an application that forks children which resist ending and, on request, opens
    files up to its limit.
    """

    def serve(*, exposed_port: int, exposed_metrics_port: int = 0) -> None:
        import os
        import resource
        import threading
        import time
        from http.server import BaseHTTPRequestHandler, HTTPServer

        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        held = []

        def fork() -> None:
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    with open(f"{folder}/left", "a") as file:
                        file.write(f"{os.getpid()}\n")
                    # Ends by being killed.
                    time.sleep(600)
                os._exit(0)
            os.wait()

        def leak() -> None:
            full = os.open(f"{folder}/full", os.O_CREAT | os.O_WRONLY)
            while True:
                try:
                    held.append(os.open("/dev/null", os.O_RDONLY))
                except OSError:
                    os.write(full, b"full")
                    # Goes on taking what becomes free, but in no busy loop.
                    time.sleep(0.01)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = str(os.getpid()).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                if self.path == "/leak":
                    fork()
                    threading.Thread(target=leak, daemon=True).start()

            def log_message(self, *_: Any) -> None:
                pass

        HTTPServer(("127.0.0.1", exposed_port), Handler).serve_forever()

    return serve


def test_application_that_leaks(served_plane: Any):
    """
    All files and processes of a runner end with it, even if it has reached its limit of
    open files; the next runner inherits none.
    """
    served_plane.deploy(
        "leaking", function=make_leaker(str(served_plane.folder)), request_timeout=5
    )
    with served_plane.client("run") as client:
        pid = int(client.post("/owner/leaking/leak").text)
        left, full = served_plane.folder / "left", served_plane.folder / "full"
        served_plane.settle(lambda: left.exists() and full.exists() and full.stat().st_size)
        assert client.post("/owner/leaking").status_code == 504
        for runner in served_plane.plane.plane.catalog.find("owner", "leaking").runners:
            # It is ended soon anyway, as it does not answer.
            with suppress(grpc.RpcError):
                served_plane.plane.call(
                    "KillRunner", wire.KillRunnerRequest(runner_id=runner.id)
                )
        assert int(client.post("/owner/leaking").text) != pid
    for each in (pid, *map(int, left.read_text().split())):
        served_plane.settle(lambda each=each: not is_alive(each))
