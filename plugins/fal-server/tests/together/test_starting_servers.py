"""Servers that start again: requests that come before the state has been read."""

from __future__ import annotations

import asyncio
import http.client
import json
from typing import Any

import pytest

from fal_server.queue.request_queues import RequestQueue
from fal_server.routing.deployments import Deployments

PATIENCE = 120.0


class EarlyRequest:
    """A request that is sent while the server starts, and read afterwards."""

    def __init__(self, path: str, body: Any, key: str) -> None:
        self._path, self._body = path, json.dumps(body)
        self._headers = {"Authorization": f"Key {key}"}
        self._connection: Any = None

    def send(self, port: int) -> None:
        """Send the request to a gateway of this machine."""
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self._connection.request("POST", self._path, self._body, self._headers)

    def read(self) -> tuple[int, Any]:
        """Return the status and the body of the response."""
        response = self._connection.getresponse()
        body = json.loads(response.read())
        self._connection.close()
        return response.status, body


@pytest.mark.parametrize("reader", [Deployments, RequestQueue])
def test_request_waits_until_the_state_is_read(
    served_plane: Any, monkeypatch: pytest.MonkeyPatch, reader: Any
):
    """
    A request that comes while the server reads its applications or its queue waits, and is
    then accepted and begun once.
    """
    gate = f"early-{reader.__name__}"
    served_plane.deploy("early", max_multiplexing=2)
    early = EarlyRequest("/owner/early/hold", {"gate": gate}, served_plane.plane.key)
    read = reader.start

    async def start(part: Any) -> None:
        catalog = (part if reader is Deployments else part.router).catalog
        ports = catalog.fleet.payloads.urls.ports
        await asyncio.to_thread(early.send, ports["queue"])
        # A server that answers too early would do it now.
        await asyncio.sleep(0.2)
        await read(part)

    monkeypatch.setattr(reader, "start", start)
    served_plane.restart()

    status, body = early.read()
    assert status == 200, body
    request = body["request_id"]
    served_plane.begin("early", request)
    served_plane.open(gate)
    assert served_plane.finish("early", request).status_code == 200
    assert sum(line.endswith(request) for line in served_plane.order()) == 1
    assert served_plane.status("early", request).json()["attempts"] == 1
