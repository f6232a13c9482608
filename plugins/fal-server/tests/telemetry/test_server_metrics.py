"""The metrics of the server: what is counted, and where it is shown."""

from __future__ import annotations

import httpx
import pytest
from isolate_proto import ListUserKeysRequest


def test_metrics_are_shown_at_their_own_port(plane):
    """The metrics of the server count procedures, requests, refusals and writes."""
    plane.call("ListUserKeys", ListUserKeysRequest())
    with plane.client("a:b") as client:
        client.get("/users/current")
        client.get("/nothing/of/the/kind")
        assert client.get("/metrics").status_code == 501
    url = f"http://127.0.0.1:{plane.plane.ports['metrics']}/metrics"
    shown = httpx.get(url, trust_env=False, timeout=60).text
    for line in [
        'fal_server_procedures_total{code="OK",procedure="ListUserKeys"} 1.0',
        'fal_server_http_requests_total{method="GET",route="/users/current",status="401"} 1.0',
        'fal_server_http_requests_total{method="any",route="none",status="501"} 2.0',
        "fal_server_refused_callers_total 1.0",
        "fal_server_write_seconds_count",
        "process_resident_memory_bytes",
    ]:
        assert line in shown, line


@pytest.mark.parametrize(
    ("settings", "asks"),
    [
        ({}, False),
        ({"host": "0.0.0.0"}, True),
        ({"metrics_key": True}, True),
        ({"host": "0.0.0.0", "metrics_key": False}, False),
    ],
)
def test_metrics_ask_for_their_key(make_plane, settings, asks):
    """
    Where others than this machine reach the server, or the operator says so, the metrics are
    shown only to those who have their key, which no key of an account is.
    """
    plane = make_plane(**settings)
    with httpx.Client(
        base_url=f"http://127.0.0.1:{plane.plane.ports['metrics']}", trust_env=False, timeout=60
    ) as client:

        def status(shown: str) -> int:
            headers = {"Authorization": shown.encode("latin-1")} if shown else {}
            answer = client.get("/metrics", headers=headers)
            assert ("fal_server" in answer.text) is (answer.status_code == 200)
            return answer.status_code

        other = 401 if asks else 200
        assert status("") == other
        if not asks:
            return
        key = plane.directory.metrics_key_file.read_text()
        assert plane.directory.metrics_key_file.stat().st_mode & 0o777 == 0o600
        shown = [f"Bearer {key}", f"Bearer {key}x", f"Key {plane.key}", "Bearer caf\xe9"]
        assert [status(each) for each in shown] == [200, 401, 401, 401]
        assert client.get("/metrics").headers["WWW-Authenticate"] == "Bearer"
