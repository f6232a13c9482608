"""A runner that prints without end."""

from __future__ import annotations

from typing import Any

import pytest
from process_memory import peak_of

from fal_host_local import LocalHost

pytestmark = pytest.mark.faults

#: The bytes of lines that the server keeps of a runner, and takes of it in a second.
KEPT, RATE = 4 << 20, 1 << 20

#: The bytes that the server may have more of in its database, and in memory.
LITTLE = 64 << 20


def print_without_end(*, exposed_port: int, exposed_metrics_port: int = 0) -> None:
    """Serve, and print from the first request on."""
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")
            threading.Thread(target=endless, daemon=True).start()

        def log_message(self, *_: object) -> None:
            pass

    def endless() -> None:
        # Until its runner is ended.
        while True:
            print("x" * 1000)

    ThreadingHTTPServer(("127.0.0.1", exposed_port), Handler).serve_forever()


@pytest.fixture
def limited(make_standing: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server that keeps little."""
    limits = ("--largest-runner-logs", str(KEPT), "--line-rate", str(RATE))
    return make_standing(tmp_path_factory.mktemp("limited"), *limits)


def test_runner_that_prints_without_end(limited: Any, programs: Any):
    """
    What is kept stays small on the disk, and what waits in memory; the reader is told of
    both kinds of lines that are missing, and another application is served meanwhile. The
    runner is ended by the command for that.
    """
    limited.deploy("other")
    limited.deploy("endless", function=print_without_end)
    before = peak_of(limited.plane.program.process.pid)

    def found(word: str) -> bool:
        with limited.plane.client() as client:
            query = {"app_name": "endless", "search": word}
            answer = client.post("/logs/history", params=query)
        return bool(answer.json()["items"])

    with limited.client("run") as client:
        assert client.post("/owner/endless", json={}).status_code == 200
        limited.settle(lambda: found("a runner may print 1M bytes in a second"))
        limited.settle(lambda: found("of a runner, the newest 4M are kept"))
        assert client.post("/owner/other", json={}).status_code == 200
    assert peak_of(limited.plane.program.process.pid) - before < LITTLE
    size = sum(each.stat().st_size for each in limited.plane.data.glob("state.db*"))
    assert size < LITTLE
    limited.plane.close()
    programs.end_runners(limited.plane.data)
    owner = f"The server of {limited.plane.data}"
    ended = [each.ended for each in LocalHost().executions() if each.owner == owner]
    assert ended == [True, True]
