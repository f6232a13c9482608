"""Requests with an idempotency key: accepted once, however often they are sent."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import Any

import httpx
import pytest
from isolate_proto import controller_pb2 as wire

#: How often a server is killed while keys are sent.
KILLS = range(20 if os.environ.get("FAL_CORE_FAULTS") == "all" else 2)


def test_request_is_sent_again(served_plane: Any, app: str, held: Any):
    """
    A request that is sent again with its key gets the id of the first, with its present
    state, and reaches the application once. With another body it is refused.
    """
    _, gate = held
    with served_plane.client() as client:

        def send(told: Any, path: str = "", key: str = "order 7") -> httpx.Response:
            headers = {"Idempotency-Key": key}
            return client.post(f"/owner/{app}{path}", json=told, headers=headers)

        first = send({"name": "once"})
        assert (first.status_code, first.json()["status"]) == (200, "IN_QUEUE")
        assert "idempotent-replayed" not in first.headers
        again = send({"name": "once"})
        assert again.status_code == 200
        assert again.headers["idempotent-replayed"] == "true"
        assert again.json() == first.json()
        assert again.headers["x-fal-request-id"] == first.json()["request_id"]
        for other in (send({"name": "other"}), send({"name": "once"}, "?x=1")):
            assert other.status_code == 422
            assert "use a new one" in other.json()["detail"]
        elsewhere = send({"name": "elsewhere"}, "/echo").json()["request_id"]
        assert send({}, key="a" * 256).status_code == 422

        served_plane.open(gate)
        id = first.json()["request_id"]
        answer = served_plane.finish(app, id)
        served_plane.finish(app, elsewhere)
        assert send({"name": "once"}).json()["status"] == "COMPLETED"
        assert client.get(f"/owner/{app}/requests/{id}").content == answer.content
    assert served_plane.order().count("echo once") == 1


def test_requests_that_come_at_once(served_plane: Any, app: str):
    """Requests with one key that come at once become one."""

    def send(_: int) -> str:
        return served_plane.submit(app, {"name": "one of many"}, Idempotency_Key="at once")

    with ThreadPoolExecutor(8) as threads:
        (id,) = set(threads.map(send, range(16)))
    served_plane.finish(app, id)
    assert served_plane.order().count("echo one of many") == 1


def test_keys_belong_to_accounts(served_plane: Any):
    """Each account has keys of its own, and who sends no API key has none."""
    served_plane.deploy("open", auth_mode=wire.PUBLIC)
    bob = served_plane.plane.add_user("bob")
    sent = [
        served_plane.submit("open", {}, key=key, Idempotency_Key="same") for key in (None, bob)
    ]
    assert len({*sent}) == 2
    with served_plane.client(key="") as client:
        refused = client.post("/owner/open", json={}, headers={"Idempotency-Key": "same"})
        assert refused.status_code == 401
        assert "API key" in refused.json()["detail"]
        assert client.post("/owner/open", json={}).status_code == 200


def test_clients_submit_with_keys(served_plane: Any, app: str, monkeypatch: pytest.MonkeyPatch):
    """Both clients of this project submit with a key, and are told whether it was sent before."""
    clients = pytest.importorskip("fal_host_serverless")
    ports = served_plane.plane.plane.ports
    monkeypatch.setenv("ISOLATE_TEST_MODE", "1")
    monkeypatch.setenv("FAL_REST_HOST", served_plane.plane.address)
    monkeypatch.setenv("FAL_QUEUE_RUN_HOST", f"127.0.0.1:{ports['queue']}")
    given = {"host": served_plane.plane.address, "api_key": served_plane.plane.key}
    submitted = clients.SyncServerlessClient(**given).submit(app, {"name": "sync"}, key="k")
    assert not submitted.is_replayed

    async def submit() -> Any:
        async with clients.AsyncServerlessClient(**given) as client:
            return await client.submit(app, {"name": "sync"}, key="k")

    again = asyncio.run(submit())
    assert (again.request_id, again.is_replayed) == (submitted.request_id, True)
    assert served_plane.finish(app, again.request_id).json()["told"] == {"name": "sync"}


class Sender:
    """
    Sends requests with keys, and each again until it is accepted.

    Attributes:
        accepted: The ids that were told for each key.
    """

    def __init__(self, served_plane: Any, name: str) -> None:
        self.served_plane = served_plane
        self.name = name
        self.accepted: dict[str, list[str]] = {}
        self.ended = threading.Event()

    def run(self) -> None:
        """Send requests until the end, after each kill on a new connection."""
        keys = (f"{self.name} {number}" for number in itertools.count())
        key = next(keys)
        while not self.ended.is_set():
            # Servers that are killed, or not started yet, break connections.
            with suppress(httpx.TransportError), self.served_plane.client() as client:
                # The pace of the requests.
                while not self.ended.wait(0.05):
                    ids = self.accepted.setdefault(key, [])
                    ids.append(send(client, key))
                    key = next(keys)


def send(client: httpx.Client, key: str) -> str:
    """Send the request of a key, and return the id that it has got."""
    headers = {"Idempotency-Key": key}
    answer = client.post("/owner/keyed", json={"name": key}, headers=headers)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["request_id"])


@pytest.mark.faults
def test_server_that_is_killed_while_keys_are_sent(standing: Any):
    """
    A server that is killed at any moment keeps both a key and its request, or neither:
    clients that send each request until it is accepted, and all of them once more, get one
    request for each key.
    """
    standing.deploy("keyed", max_multiplexing=8)
    standing.finish("keyed", standing.submit("keyed", {"name": "first"}))
    senders = [Sender(standing, f"sender{number}") for number in range(4)]
    threads = [threading.Thread(target=each.run) for each in senders]
    moments = random.Random(0)
    for thread in threads:
        thread.start()
    try:
        for _ in KILLS:
            # Some keys have been sent, and some are just being written.
            time.sleep(moments.uniform(0.1, 0.6))
            standing.plane.kill()
            standing.plane.start()
    finally:
        for each in senders:
            each.ended.set()
        for thread in threads:
            thread.join()

    accepted = {key: ids for each in senders for key, ids in each.accepted.items()}
    assert len(accepted) > len(senders)
    with standing.client() as client:
        for key, ids in accepted.items():
            ids.append(send(client, key))
            assert len({*ids}) == 1, key
        for key, ids in accepted.items():
            url = f"/owner/keyed/requests/{ids[0]}/status"
            standing.settle(lambda url=url: client.get(url).status_code == 200)
            reached = standing.order().count(f"echo {key}")
            # What a runner had when the server was killed is begun again, as another attempt.
            assert 1 <= reached <= client.get(url).json()["attempts"]
    with closing(sqlite3.connect(standing.plane.data / "state.db")) as connection:
        query = "select count(*) from requests where alias = 'keyed'"
        (stored,) = connection.execute(query).fetchone()
    assert stored == len(accepted) + 1
