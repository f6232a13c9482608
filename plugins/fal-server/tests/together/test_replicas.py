"""Several servers on one PostgreSQL: any of them takes requests, and one of them decides."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import httpx
import pytest
import sqlalchemy as sa

from fal_server.checks import check_replicas
from fal_server.store.queued_requests import requests
from fal_server.store.runner_records import runners

EVERY = os.environ.get("FAL_CORE_FAULTS") == "all"

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@pytest.fixture(scope="module")
def replicas(make_replicas: Callable[..., Any]) -> Any:
    """Three servers, and an application that was deployed by one that does not decide."""
    made = make_replicas(3)
    made.served[made.followers[0]].deploy("app")
    return made


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """Threads that send requests which take a while."""
    with ThreadPoolExecutor(8) as made:
        yield made


def ask(served: Any, path: str, told: Any) -> httpx.Response:
    with served.client("run") as client:
        return client.post(f"/owner/{path}", json=told)


def run_until(served: Any, gate: str) -> Any:
    """Run a function that ends when the gate is open, or with its server."""
    folder = str(served.folder)

    def wait() -> None:
        import pathlib
        import time

        (pathlib.Path(folder) / "called").touch()
        while not (pathlib.Path(folder) / gate).exists():
            time.sleep(0.01)

    return served.run(wait)


def submit(served: Any, path: str) -> httpx.Response:
    with served.client() as client:
        return client.post(f"/owner/{path}", json={})


def test_any_replica_takes_any_request(replicas: Any):
    """
    Requests are sent to the application, directly and by the queue, at every replica, and
    their status and responses are read at every other.
    """
    for served in replicas.served:
        answer = ask(served, "app/where", {"name": "a"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["told"] == {"name": "a"}
    large = {"name": "large", "text": "x" * 300_000}
    ids = [served.submit("app", large) for served in replicas.served]
    for id in ids:
        for served in replicas.served:
            assert served.finish("app", id).json()["told"] == large


def test_websocket_at_any_replica(replicas: Any):
    """Requests are sent over a websocket at every replica."""

    async def talk(served: Any) -> list[str]:
        address = f"ws://127.0.0.1:{served.plane.ports['ws']}/owner/app/echo"
        headers = {"Authorization": f"Key {served.plane.key}"}
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(address, headers=headers) as socket,
        ):
            await socket.send_str('{"name": "over a websocket"}')
            return [str((await socket.receive()).data) for _ in range(3)]

    for served in replicas.served:
        start, body, end = asyncio.run(talk(served))
        assert ('"status": 200' in start, '"status": 200' in end) == (True, True)
        assert "over a websocket" in body


def test_function_is_run_at_any_replica(replicas: Any):
    """A function is run at every replica, whose metadata and errors arrive as well."""

    def add() -> int:
        print("adding")
        return 1 + 1

    for served in replicas.served:
        assert served.run(add) == 2


def test_repeated_submission_at_another_replica(replicas: Any):
    """An idempotency key holds at all replicas."""
    ids = {served.submit("app", {}, Idempotency_Key="once") for served in replicas.served}
    assert len(ids) == 1


def test_request_is_cancelled_at_any_replica(replicas: Any):
    """A request that a replica has accepted is cancelled at another one."""
    first, second = (replicas.served[each] for each in replicas.followers)
    id = first.submit("app/hold", {"gate": "never"})
    first.begin("app", id)
    with second.client() as client:
        assert client.put(f"/owner/app/requests/{id}/cancel").status_code == 202
    assert second.finish("app", id).json() == {"cancelled": True}


def test_replicas_are_listed(replicas: Any):
    """The command lists all replicas, which of them decides, and what does not fit together."""
    told = replicas.list()
    assert [each["decides"] for each in told["replicas"]].count(True) == 1
    assert [each["alive"] for each in told["replicas"]] == [True] * 3
    ports = {int(each["address"].rpartition(":")[2]) for each in told["replicas"]}
    assert ports == {each.ports["api"] for each in replicas.servers}
    assert told["problems"] == []
    finding = check_replicas(replicas.url)
    assert (finding.ok, finding.message[:5]) == (True, "3 run")


def test_killed_decider(replicas: Any, threads: ThreadPoolExecutor):
    """
    When the replica that decides is killed, requests in the queue are answered, and those that
    a runner had are counted as another attempt. A direct request that waits for a runner is
    answered as well; one that a runner has, and a function that runs, end with a sentence which
    says so.
    """
    decider, (first, second) = replicas.decider, replicas.followers
    token, served = replicas.token, replicas.served[first]
    called = threads.submit(run_until, served, "killed")
    served.settle(lambda: (served.folder / "called").exists())
    running = threads.submit(ask, served, "app/hold", {"gate": "killed", "name": "direct"})
    served.settle(lambda: "hold direct" in served.order())
    waiting = threads.submit(ask, served, "app/echo", {"name": "waited"})
    queued = [
        replicas.served[number % 3].submit("app/echo", {"name": f"queued {number}"})
        for number in range(30)
    ]
    replicas.servers[decider].kill()
    lost = running.result()
    assert (lost.status_code, "may have run" in lost.text) == (502, True)
    error = called.exception()
    assert isinstance(error, grpc.RpcError)
    assert (error.code(), "may have run" in error.details()) == (UNAVAILABLE, True)
    # Some more while nobody decides, or another one begins to.
    queued += [replicas.served[second].submit("app/echo") for _ in range(10)]
    served.open("killed")
    served.settle(lambda: replicas.token > token)
    assert replicas.decider in (first, second)
    assert replicas.token == token + 1
    assert waiting.result().json()["told"] == {"name": "waited"}
    for id in queued:
        assert served.finish("app", id).status_code == 200
    begun = Counter(served.order())
    names = [f"queued {number}" for number in range(30)]
    found = replicas.read(sa.select(requests.c.id, requests.c.attempts))
    attempts = {row.id: row.attempts for row in found}
    for id, name in zip(queued, names, strict=False):
        assert begun[f"echo {name}"] <= attempts[id]
    assert begun["echo waited"] == 1


def test_replica_that_stood_still(replicas: Any, threads: ThreadPoolExecutor):
    """
    A replica that stood still for longer than its lease decides no longer: another one does,
    and what the first writes later is refused. It follows from then on, and a request that it
    was to answer ends with a sentence.
    """
    decider, token = replicas.decider, replicas.token
    served = replicas.served[decider]
    other = replicas.served[replicas.followers[0]]
    held = other.submit("app/hold", {"gate": "stood", "name": "stood"})
    other.begin("app", held)
    direct = threads.submit(ask, served, "app/hold", {"gate": "resumed"})
    served.settle(lambda: served.waiting("app") == 1)
    process = replicas.servers[decider].program.process
    process.send_signal(signal.SIGSTOP)
    try:
        other.settle(lambda: replicas.token > token and replicas.decider != decider)
        other.open("stood")
        assert other.finish("app", held).status_code == 200
    finally:
        process.send_signal(signal.SIGCONT)
    lost = direct.result()
    assert (lost.status_code, "may have run" in lost.text) == (502, True)
    served.open("resumed")
    # It finds out that it follows with its first write, if not before.
    served.settle(lambda: submit(served, "app/echo").status_code == 200)
    id = served.submit("app/echo", {"name": "by the follower"})
    assert other.finish("app", id).status_code == 200
    assert ask(served, "app/echo", {"name": "again"}).status_code == 200
    assert replicas.decider != decider
    assert process.poll() is None


def test_restarted_database(replicas: Any, postgresql: Any):
    """While PostgreSQL is restarted, what was accepted waits, and goes on."""
    served = replicas.served[replicas.followers[0]]
    held = served.submit("app/hold", {"gate": "restarted", "name": "restarted"})
    served.begin("app", held)
    token = replicas.token
    postgresql.stop(signal.SIGQUIT)
    served.open("restarted")
    postgresql.start()
    replicas.forget()
    assert served.finish("app", held).json() == {"cancelled": False}
    # Whoever decided goes on.
    assert replicas.token == token


def own_address() -> str:
    """Return an address of this machine that is not one of loopback. Empty where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as tried:
        try:
            # Nothing is sent.
            tried.connect(("192.0.2.1", 9))
        except OSError:
            return ""
        address: str = tried.getsockname()[0]
        return address


@pytest.mark.faults
@pytest.mark.skipif(not EVERY, reason="with FAL_CORE_FAULTS=all: environments are built twice")
@pytest.mark.skipif(not own_address(), reason="this machine has only addresses of loopback")
def test_decider_on_another_machine(make_replicas: Callable[..., Any], tmp_path: Path):
    """
    A replica on another machine, which cannot reach a runner, starts another one, and the first
    is ended by the replica beside it, when that runs again.
    """
    caches = {number: {"FAL_CORE_CACHE": str(tmp_path / f"cache{number}")} for number in (0, 1)}
    options = ("--address", "0.0.0.0", "--advertise", own_address(), "--no-metrics-key")
    made = make_replicas(2, *options, variables=caches)
    decider, (other,) = made.decider, made.followers
    made.served[decider].deploy("app")
    first, second = made.served[decider], made.served[other]
    (before,) = made.read(sa.select(runners))
    token = made.token
    made.servers[decider].kill()
    assert ask(second, "app/echo", {"name": "there"}).status_code == 200
    assert made.token == token + 1
    (after,) = made.read(sa.select(runners).where(runners.c.id != before.id))
    assert {before.machine, after.machine} == made.machines
    assert [row.ended_at for row in made.read(sa.select(runners))] == [None, None]
    made.servers[decider].start()

    def has_ended() -> bool:
        (row,) = made.read(sa.select(runners).where(runners.c.id == before.id))
        return row.ended_at is not None

    first.settle(has_ended)
    assert ask(first, "app/echo", {"name": "again"}).status_code == 200
