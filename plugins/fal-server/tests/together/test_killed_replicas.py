"""
Servers on one PostgreSQL that are killed at any moment, whose clocks differ, or whose database
is gone for a while. They run with FAL_CORE_FAULTS=all.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
import sqlalchemy as sa

from fal_host_local import LocalHost
from fal_server.store.queued_requests import UNFINISHED, requests
from fal_server.store.runner_records import runners

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(
        os.environ.get("FAL_CORE_FAULTS") != "all", reason="with FAL_CORE_FAULTS=all"
    ),
]

#: How many servers are killed one after the other in each of so many parts, and the seconds
#: between two kills.
PARTS, KILLS, LONGEST = 5, 10, 2.0

#: Seconds by which the clocks of servers are wrong.
OFFSETS = (60, -60, 0)

#: What a server imports first whose clock is wrong.
PATCH = """
import time

real = time.time
time.time = lambda: real() + {offset}
"""


def make_recorder(folder: str) -> Callable[..., None]:
    """Return an application that writes down each request that reaches it."""

    def serve(*, exposed_port: int, exposed_metrics_port: int = 0) -> None:
        import os
        import time
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

        file = os.open(f"{folder}/begun", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = self.headers["x-fal-request-id"]
                attempt = self.headers.get("x-fal-request-attempt", "0")
                os.write(file, f"{request} {attempt} {sent.decode()}\n".encode())
                # The server is killed while some requests run.
                time.sleep(0.005)
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            def log_message(self, *_: object) -> None:
                pass

        ThreadingHTTPServer(("127.0.0.1", exposed_port), Handler).serve_forever()

    return serve


@attrs.define
class Crowd:
    """
    Clients that send requests to all servers all the time.

    Attributes:
        accepted: The numbers of the requests that were accepted, by their ids.

        answered: The numbers of direct requests that were answered.

        refused: The other responses.
    """

    replicas: Any
    accepted: dict[str, int] = attrs.field(factory=dict)
    answered: list[int] = attrs.field(factory=list)
    refused: list[tuple[int, str]] = attrs.field(factory=list)
    _ended: threading.Event = attrs.field(factory=threading.Event)

    def send(self, client_number: int) -> None:
        """Send requests until the end, each to the next server."""
        numbers = iter(range(client_number, 10**9, 100))
        while not self._ended.wait(0.05):
            number = next(numbers)
            served = self.replicas.served[(client_number + number // 100) % 3]
            listener = "run" if client_number % 4 == 3 else "queue"
            # Servers that are killed, or not started yet, break connections.
            with suppress(httpx.TransportError), served.client(listener) as client:
                answer = client.post("/owner/work", json=number)
                if answer.status_code != 200:
                    self.refused.append((answer.status_code, answer.text))
                elif listener == "run":
                    self.answered.append(answer.json())
                else:
                    self.accepted[answer.json()["request_id"]] = number

    @contextmanager
    def sending(self, clients: int) -> Iterator[None]:
        """Send requests from *clients* threads within this block."""
        threads = [
            threading.Thread(target=self.send, args=[number]) for number in range(clients)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            for thread in threads:
                thread.join()

    def check(self) -> None:
        """Check that all that was accepted is answered, and begun as often as is told."""
        (served, *_) = self.replicas.served
        columns = (requests.c.state, requests.c.status, requests.c.answer, requests.c.attempts)
        chosen = sa.select(requests.c.id, *columns)
        unfinished = chosen.where(requests.c.state.in_(UNFINISHED))

        def left() -> str:
            said = [each.program.errors.read_text()[-4000:] for each in self.replicas.servers]
            return "\n".join(map(str, [*self.replicas.read(unfinished), *said]))

        served.settle(lambda: not self.replicas.read(unfinished.limit(1)), hint=left)
        rows = {row.id: row for row in self.replicas.read(chosen)}
        for id, number in self.accepted.items():
            assert (rows[id].status, rows[id].answer) == (200, str(number).encode()), id
        begun = defaultdict(list)
        for line in (served.folder / "begun").read_text().splitlines():
            id, attempt, _ = line.split()
            begun[id].append(int(attempt))
        for id in self.accepted:
            assert begun[id] == sorted(set(begun[id])), id
            assert begun[id][-1] == rows[id].attempts


def running() -> set[str]:
    """Return the runners of this machine that run."""
    host = LocalHost()
    found = {each.reference for each in host.executions() if not each.ended}
    host.close()
    return found


@pytest.fixture
def replicas(make_replicas: Callable[..., Any]) -> Any:
    """Three servers, and an application."""
    return start(make_replicas)


def start(make_replicas: Callable[..., Any], **options: Any) -> Any:
    made = make_replicas(3, **options)
    (first, *_) = made.served
    first.deploy("work", function=make_recorder(str(first.folder)))
    return made


@pytest.mark.parametrize("part", range(PARTS))
def test_replicas_that_are_killed(replicas: Any, part: int):
    """
    Whichever server is killed at whichever moment, what was accepted is answered, nothing is
    begun twice without being counted, and no runner stays that nobody knows of.
    """
    chance = random.Random(part)
    crowd = Crowd(replicas)
    with crowd.sending(clients=4):
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.0, LONGEST))
            number = replicas.decider if chance.random() < 0.5 else chance.randrange(3)
            replicas.servers[number].kill()
            time.sleep(chance.uniform(0.0, LONGEST))
            replicas.servers[number].start()
    assert crowd.accepted
    assert crowd.answered
    assert {status for status, _ in crowd.refused} <= {502, 503}, crowd.refused
    crowd.check()
    recorded = replicas.read(sa.select(runners.c.reference, runners.c.ended_at))
    known = {row.reference for row in recorded if row.ended_at is None}
    ours = {row.reference for row in recorded}
    assert running() & ours == known
    assert len(known) == 1


def test_clocks_that_differ(make_replicas: Callable[..., Any], tmp_path: Path):
    """
    Servers whose clocks differ by minutes have requests wait for as long as they may, and
    decide one after the other.
    """
    variables = {}
    for number, offset in enumerate(OFFSETS):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(PATCH.format(offset=offset))
        variables[number] = {"PYTHONPATH": str(folder)}
    made = start(make_replicas, variables=variables)
    told = made.list()
    assert sorted(round(each["clock"] / 60) for each in told["replicas"]) == [-1, 0, 1]
    assert len([each for each in told["problems"] if "clock" in each]) == 2
    for _ in range(2):
        token, (other, *_) = made.token, made.followers
        crowd = Crowd(made)
        # They may wait for less time than the clocks differ by.
        for number in range(1, 21):
            id = made.served[other].submit("work", number, x_fal_request_timeout="30")
            crowd.accepted[id] = number
        decider = made.decider
        made.servers[decider].kill()
        made.served[other].settle(lambda token=token: made.token > token)
        assert made.decider != decider
        made.servers[decider].start()
        crowd.check()
        rows = {row.id: row for row in made.read(sa.select(requests))}
        for id in crowd.accepted:
            assert 0 <= rows[id].ended_at - rows[id].submitted_at < 30


def test_database_that_is_gone_for_a_while(replicas: Any, postgresql: Any):
    """While PostgreSQL is gone for 30 s, what was accepted waits, and goes on afterwards."""
    crowd = Crowd(replicas)
    with crowd.sending(clients=8):
        # Some are accepted before it.
        time.sleep(1.0)
        postgresql.stop(signal.SIGQUIT)
        time.sleep(30.0)
        postgresql.start()
        replicas.forget()
        before = len(crowd.accepted)
        replicas.served[0].settle(lambda: len(crowd.accepted) > before + 20)
    assert {status for status, _ in crowd.refused} <= {502, 503}, crowd.refused
    crowd.check()
