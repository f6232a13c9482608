"""
Several servers on one PostgreSQL: any of them takes requests, and one of them decides.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from fal_server.checks import check_replicas
from fal_server.store.queued_requests import requests


@pytest.fixture(scope="module")
def replicas(make_replicas: Callable[..., Any]) -> Any:
    """
    Three servers, and an application that was deployed by one that does not decide.
    """
    made = make_replicas(3)
    made.served[made.followers[0]].deploy("app")
    return made


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """
    Threads that send requests which take a while.
    """
    with ThreadPoolExecutor(8) as made:
        yield made


def ask(served: Any, path: str, told: Any) -> httpx.Response:
    with served.client("run") as client:
        return client.post(f"/owner/{path}", json=told)


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


def test_function_is_run_at_any_replica(replicas: Any):
    """
    A function is run at every replica, whose metadata and errors arrive as well.
    """

    def add() -> int:
        print("adding")
        return 1 + 1

    for served in replicas.served:
        assert served.run(add) == 2


def test_repeated_submission_at_another_replica(replicas: Any):
    """
    An idempotency key holds at all replicas.
    """
    ids = {served.submit("app", {}, Idempotency_Key="once") for served in replicas.served}
    assert len(ids) == 1


def test_request_is_cancelled_at_any_replica(replicas: Any):
    """
    A request that a replica has accepted is cancelled at another one.
    """
    first, second = (replicas.served[each] for each in replicas.followers)
    id = first.submit("app/hold", {"gate": "never"})
    first.begin("app", id)
    with second.client() as client:
        assert client.put(f"/owner/app/requests/{id}/cancel").status_code == 202
    assert second.finish("app", id).json() == {"cancelled": True}


def test_replicas_are_listed(replicas: Any):
    """
    The command lists all replicas, which of them decides, and what does not fit together.
    """
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
    answered as well; one that a runner has ends with a sentence which says so.
    """
    decider, (first, second) = replicas.decider, replicas.followers
    token, served = replicas.token, replicas.served[first]
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


def test_replica_that_stood_still(replicas: Any):
    """
    A replica that stood still for longer than its lease decides no longer: another one does,
    and what the first writes later is refused. It follows from then on.
    """
    decider, token = replicas.decider, replicas.token
    served = replicas.served[decider]
    other = replicas.served[replicas.followers[0]]
    held = other.submit("app/hold", {"gate": "stood", "name": "stood"})
    other.begin("app", held)
    process = replicas.servers[decider].program.process
    process.send_signal(signal.SIGSTOP)
    try:
        other.settle(lambda: replicas.token > token and replicas.decider != decider)
        other.open("stood")
        assert other.finish("app", held).status_code == 200
    finally:
        process.send_signal(signal.SIGCONT)
    # It finds out that it follows with its first write, if not before.
    served.settle(lambda: submit(served, "app/echo").status_code == 200)
    id = served.submit("app/echo", {"name": "by the follower"})
    assert other.finish("app", id).status_code == 200
    assert ask(served, "app/echo", {"name": "again"}).status_code == 200
    assert replicas.decider != decider
    assert process.poll() is None


def test_restarted_database(replicas: Any, postgresql: Any):
    """
    While PostgreSQL is restarted, what was accepted waits, and goes on.
    """
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
