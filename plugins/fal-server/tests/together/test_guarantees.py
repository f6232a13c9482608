"""
What the page of guarantees says of a server: what becomes of calls, requests and webhooks
when its process, or its whole machine, dies.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from fal_core.errors import HostError
from fal_testing.harness.processes import is_alive

pytestmark = pytest.mark.faults

#: An address that webhooks may reach.
ADDRESS = "127.0.0.2"


@pytest.fixture(scope="module")
def served(
    make_standing: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """A server in a process of its own, with an application to deploy on it."""
    root = tmp_path_factory.mktemp("guaranteed")
    return make_standing(root, "--webhook-network", f"{ADDRESS}/32")


def parent_of(pid: int) -> int:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


def test_machine_that_is_restarted(served: Any):
    """
    A server and its runners are killed, as with their machine: the next server runs the
    requests that it had accepted in a new runner. One that had begun is another attempt.
    """
    served.deploy("restarted", max_multiplexing=1)
    first = served.finish("restarted", served.submit("restarted/look")).json()["pid"]
    begun = served.submit("restarted/hold", {"gate": "restarted"})
    waiting = served.submit("restarted/look")
    served.begin("restarted", begun)
    keeper = parent_of(first)
    supervisor = parent_of(keeper)
    served.plane.kill()
    for each in (supervisor, keeper, first):
        # Those that the first one takes along may be gone.
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)
    served.settle(lambda: not is_alive(first))
    served.plane.start()
    served.open("restarted")
    assert served.finish("restarted", begun).status_code == 200
    answer = served.finish("restarted", waiting)
    assert (answer.status_code, answer.json()["pid"] == first) == (200, False)
    attempts = [
        served.status("restarted", each).json()["attempts"] for each in (begun, waiting)
    ]
    assert attempts == [2, 1]


def test_request_to_a_gateway_whose_server_is_killed(served: Any):
    """
    A request that is sent to the run gateway breaks off with the server, and is not run
    again by the next one.
    """
    served.deploy("direct")

    def ask() -> int:
        with served.client("run") as client:
            told = {"gate": "direct", "name": "direct"}
            return client.post("/owner/direct/hold", json=told).status_code

    with ThreadPoolExecutor() as threads:
        asked = threads.submit(ask)
        served.settle(lambda: "hold direct" in served.order())
        served.plane.kill()
        with pytest.raises(httpx.TransportError):
            asked.result()
    served.plane.start()
    served.open("direct")
    assert served.finish("direct", served.submit("direct")).status_code == 200
    assert served.order().count("hold direct") == 1


def test_call_of_a_function_whose_server_is_killed(
    served: Any, monkeypatch: pytest.MonkeyPatch
):
    """
    A call of a function ends with the server that runs it, with an error of the host, and is
    not made again by the next one.
    """
    clients = pytest.importorskip("fal_host_serverless")
    pytest.importorskip("fal_env_virtualenv")
    from fal_core import function

    monkeypatch.setenv("ISOLATE_TEST_MODE", "1")
    monkeypatch.setenv("FAL_KEY", served.plane.key)
    marks = served.folder / "marks"

    def mark(path: str) -> None:
        import time

        with open(path, "a") as file:
            file.write(f"{os.getpid()}\n")
        # Ends by being killed.
        time.sleep(600)

    host = clients.FalServerlessHost(f"127.0.0.1:{served.plane.ports['api']}")
    future = function("virtualenv", host=host)(mark).submit(str(marks))
    served.settle(lambda: marks.exists() and marks.read_text())
    served.plane.kill()
    assert isinstance(future.exception(60), HostError)
    served.plane.start()
    served.settle(lambda: not any(is_alive(int(pid)) for pid in marks.read_text().split()))
    assert len(marks.read_text().split()) == 1


CALLER = """
import sys
from fal_core import function

@function("virtualenv", host=f"serverless://{sys.argv[1]}")
def mark(path):
    import os, time
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\\n")
    # Ends by being killed.
    time.sleep(600)

mark(sys.argv[2])
"""


def test_caller_of_a_function_on_a_server_that_is_killed(
    served: Any, monkeypatch: pytest.MonkeyPatch
):
    """A function on a server ends with its caller, and is not run again."""
    pytest.importorskip("fal_host_serverless")
    pytest.importorskip("fal_env_virtualenv")
    monkeypatch.setenv("ISOLATE_TEST_MODE", "1")
    monkeypatch.setenv("FAL_KEY", served.plane.key)
    marks = served.folder / "marks of a caller"
    address = f"127.0.0.1:{served.plane.ports['api']}"
    with subprocess.Popen([sys.executable, "-c", CALLER, address, str(marks)]) as caller:
        try:
            served.settle(lambda: marks.exists() and marks.read_text())
        finally:
            caller.kill()
    served.settle(lambda: not any(is_alive(int(pid)) for pid in marks.read_text().split()))
    assert len(marks.read_text().split()) == 1


class KillingReceiver:
    """
    A receiver of webhooks that kills the server while the first is delivered.

    Attributes:
        ids: The ids of the requests whose webhooks came.
    """

    def __init__(self, kill: Callable[[], None]) -> None:
        self.ids: list[str] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                receiver.ids.append(self.headers["X-Fal-Webhook-Request-Id"])
                if len(receiver.ids) == 1:
                    kill()
                    return
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer((ADDRESS, 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.server.server_port}/"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def test_webhook_whose_server_is_killed_while_it_is_delivered(served: Any):
    """
    A webhook whose delivery the killed server did not note is delivered again by the next
    one, with the same id, as nobody knows whether it came.
    """
    served.deploy("told")
    killed = threading.Event()

    def kill() -> None:
        served.plane.kill()
        killed.set()

    receiver = KillingReceiver(kill)
    try:
        request = served.submit(f"told?fal_webhook={quote(receiver.url, safe='')}")
        served.settle(killed.is_set)
        served.plane.start()
        served.settle(lambda: len(receiver.ids) == 2)
    finally:
        receiver.close()
    assert receiver.ids == [request] * 2
    assert served.status("told", request).json()["attempts"] == 1
