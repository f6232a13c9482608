"""
Several servers on one PostgreSQL: any of them takes requests, and one of them decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="module")
def replicas(make_replicas: Callable[..., Any]) -> Any:
    """
    Three servers, and an application.
    """
    made = make_replicas(3)
    made.served[made.followers[0]].deploy("app")
    return made


def test_any_replica_takes_any_request(replicas: Any):
    """
    Requests are sent to the application, directly and by the queue, at every replica, and
    their status and responses are read at every other.
    """
    for served in replicas.served:
        with served.client("run") as client:
            answer = client.post("/owner/app/where", json={"name": "a"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["told"] == {"name": "a"}
    ids = [
        served.submit("app", {"name": str(served.plane.ports)}) for served in replicas.served
    ]
    for id in ids:
        for served in replicas.served:
            assert served.finish("app", id).status_code == 200
