"""Fleet metrics: gauges of runners and requests, counted when the metrics are read."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from isolate_proto import controller_pb2 as wire


@pytest.fixture
def metrics(served_plane):
    """Read the metrics, by name and labels."""

    def read() -> dict[str, float]:
        url = f"http://127.0.0.1:{served_plane.plane.plane.ports['metrics']}/metrics"
        lines = re.findall(
            r"^(fal_server\S*) (\S+)$", httpx.get(url, trust_env=False, timeout=60).text, re.M
        )
        return {name: float(number) for name, number in lines}

    return read


def labelled(name: str, **labels: str) -> str:
    shown = ",".join(f'{label}="{value}"' for label, value in labels.items())
    return f"fal_server_{name}{{{shown}}}"


def test_runners_and_requests(served_plane, metrics):
    """
    Runners are counted by application and state. Requests are counted while they run and
    while they wait, in the queue and in the run gateway.
    """
    served_plane.deploy("busy")
    name = "owner/busy"
    held = served_plane.submit("busy/hold", {"gate": "gate of busy"})
    served_plane.begin("busy", held)
    queued = [served_plane.submit("busy") for _ in range(2)]
    with served_plane.client("run") as client, ThreadPoolExecutor(1) as threads:
        direct = threads.submit(client.post, "/owner/busy", json={})
        served_plane.settle(
            lambda: metrics()[labelled("requests_waiting", application=name)] == 3
        )
        found = metrics()
        assert found[labelled("runners", application=name, state="running")] == 1
        assert found[labelled("requests_running", application=name)] == 1
        assert found[labelled("queue_length", application=name)] == 2
        served_plane.open("gate of busy")
        assert direct.result().status_code == 200
    for each in (held, *queued):
        served_plane.finish("busy", each)
    served_plane.settle(
        lambda: labelled("runners", application=name, state="idle") in metrics()
    )
    found = metrics()
    assert found[labelled("requests_waiting", application=name)] == 0
    assert labelled("queue_length", application=name) not in found
    served_plane.plane.call("DeleteAlias", wire.DeleteAliasRequest(alias="busy"))
    assert labelled("requests_waiting", application=name) not in metrics()


def test_functions_have_no_label(served_plane, metrics):
    """The runners of all functions are counted together."""

    def nothing() -> int:
        return 1

    before = metrics().get("fal_server_runner_start_seconds_count", 0)
    assert served_plane.run(nothing) == 1
    found = metrics()
    assert found[labelled("runners", application="", state="idle")] >= 1
    assert found["fal_server_runner_start_seconds_count"] == before + 1
    assert not [each for each in found if "nothing" in each]


def test_deliveries(served_plane, metrics):
    """Attempts to deliver a webhook are counted by outcome."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    answers = iter([500, 204])

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(next(answers))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    served_plane.deploy("telling")
    with ThreadingHTTPServer(("127.0.0.2", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        url = f"http://127.0.0.2:{server.server_port}/"
        served_plane.submit(f"telling?fal_webhook={url}")
        taken = labelled("webhook_deliveries_total", outcome="taken")
        served_plane.settle(lambda: metrics().get(taken))
        server.shutdown()
    assert metrics()[labelled("webhook_deliveries_total", outcome="failed")] == 1
