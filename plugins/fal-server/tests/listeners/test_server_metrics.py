"""
The metrics of the server: what is counted, and where it is shown.
"""

from __future__ import annotations

import httpx
from isolate_proto import ListUserKeysRequest


def test_metrics_are_shown_at_their_own_port(plane):
    """
    The metrics of the server count procedures, requests, refusals and writes.
    """
    plane.call("ListUserKeys", ListUserKeysRequest())
    with plane.client("a:b") as client:
        client.get("/users/current")
        client.get("/nothing/of/the/kind")
        assert client.get("/metrics").status_code == 404
    url = f"http://127.0.0.1:{plane.plane.ports['metrics']}/metrics"
    shown = httpx.get(url, trust_env=False, timeout=60).text
    for line in [
        'fal_server_procedures_total{code="OK",procedure="ListUserKeys"} 1.0',
        'fal_server_http_requests_total{method="GET",route="/users/current",status="401"} 1.0',
        'fal_server_http_requests_total{method="any",route="none",status="404"} 2.0',
        "fal_server_refused_callers_total 1.0",
        "fal_server_write_seconds_count",
        "process_resident_memory_bytes",
    ]:
        assert line in shown, line
