"""
Servers that are killed at any moment: the next one on the same data directory goes on.

A seeded tenth of the moments runs by default; FAL_CORE_FAULTS=all runs them all.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import random
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import grpc
import httpx
import pytest
from isolate_proto import controller_pb2 as wire

from fal_host_local import LocalHost
from fal_testing.harness.processes import is_alive

EVERY = os.environ.get("FAL_CORE_FAULTS") == "all"
MOMENTS = range(50 if EVERY else 5)

#: How often a server is killed while requests come all the time.
KILLS = range(20 if EVERY else 2)

#: Seconds from the first request to the last moment at which a server is killed.
SPAN = 0.8

pytestmark = pytest.mark.faults


def make_recorder(folder: str, release: int) -> Callable[..., None]:
    """Return an application that writes down each request that reaches it."""

    def serve(*, exposed_port: int, exposed_metrics_port: int = 0) -> None:
        import json
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
                os.write(file, f"{request} {attempt}\n".encode())
                # The server is killed while some requests run.
                time.sleep(0.005)
                told = {"release": release, "pid": os.getpid(), "told": json.loads(sent)}
                body = json.dumps(told).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        ThreadingHTTPServer(("127.0.0.1", exposed_port), Handler).serve_forever()

    return serve


#: The same as a class, which is deployed by this project's own client.
CLASS = """
    import os
    import time
    from typing import Any

    from fastapi import Request

    from fal_serve import App, endpoint


    class Served(App, keep_alive=300, max_concurrency=1, max_multiplexing=4):
        @endpoint("/")
        async def record(self, request: Request) -> dict[str, Any]:
            name = request.headers["x-fal-request-id"]
            attempt = request.headers.get("x-fal-request-attempt", "0")
            with open(f"{FOLDER}/begun", "ab", buffering=0) as file:
                file.write(f"{name} {attempt}\\n".encode())
            # The server is killed while some requests run.
            time.sleep(0.005)
            return {"pid": os.getpid(), "told": await request.json()}
"""

#: Whether the class can be deployed here.
HAS_CLASSES = all(map(importlib.util.find_spec, ("fal_serve", "fal_host_serverless")))


@attrs.define
class Load:
    """
    Requests and deployments, one after the other until the server is gone.

    Attributes:
        accepted: The requests that were answered with a 2xx, each with its application
            and its number.

        deployed: The releases that were deployed, by their revisions.

        tried: The newest release that was sent.

        applications: The applications that get requests in turn.
    """

    served_plane: Any
    accepted: dict[str, tuple[str, int]] = attrs.field(factory=dict)
    deployed: dict[str, int] = attrs.field(factory=dict)
    tried: int = 0
    applications: tuple[str, ...] = ("work", "class") if HAS_CLASSES else ("work",)
    _numbers: Iterator[int] = attrs.field(factory=itertools.count)

    def submit(self) -> None:
        """Submit requests."""
        with suppress(httpx.TransportError), self.served_plane.client() as client:
            while True:
                number = next(self._numbers)
                name = self.applications[number % len(self.applications)]
                answer = client.post(f"/owner/{name}", json=number)
                assert answer.status_code == 200, answer.text
                self.accepted[answer.json()["request_id"]] = name, number
                # The pace of the requests.
                time.sleep(0.01)

    def deploy(self) -> None:
        """Deploy releases."""
        with suppress(grpc.RpcError):
            while True:
                self.tried += 1
                revision = deploy(self.served_plane, "moving", self.tried)
                self.deployed[revision] = self.tried

    def run(self, seconds: float) -> None:
        """Load the server for so long, and kill it."""
        threads = [threading.Thread(target=work) for work in (self.submit, self.deploy)]
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        self.served_plane.plane.kill()
        for thread in threads:
            thread.join()


def deploy(served_plane: Any, name: str, release: int) -> str:
    """Deploy a release whose metadata has its number, and return its revision."""

    def change(request: Any) -> None:
        request.metadata.update({"release": release})
        request.deployment_strategy = wire.ROLLING if release % 2 else wire.RECREATE

    revision: str = served_plane.deploy(
        name, function=make_recorder(str(served_plane.folder), release), change=change
    )
    return revision


def ask(served_plane: Any, name: str) -> Any:
    with served_plane.client("run") as client:
        answer = client.post(f"/owner/{name}", json=0)
    assert answer.status_code == 200, answer.text
    return answer.json()


def begun(folder: Path) -> dict[str, list[int]]:
    """Return the attempts of each request that have reached an application."""
    found = defaultdict(list)
    for line in (folder / "begun").read_text().splitlines():
        request, attempt = line.split()
        found[request].append(int(attempt))
    return found


def running(data: Path) -> set[str]:
    """Return the runners of a data directory whose processes run."""
    with sqlite3.connect(data / "state.db") as connection:
        ids = {id for (id,) in connection.execute("select id from runners")}
    connection.close()
    host = LocalHost()
    references = {each.reference for each in host.executions() if not each.ended}
    host.close()
    return {id for id in ids if f"runner-{id}" in references}


def known(served_plane: Any) -> set[str]:
    """Return the runners that the server knows of."""
    told = served_plane.plane.call("ListRunners", wire.ListRunnersRequest(list_pending=True))
    return {each.runner_id for each in told.runners}


def alias_of(served_plane: Any, name: str) -> Any:
    """Return the description of an application."""
    told = served_plane.plane.call("ListAliases", wire.ListAliasesRequest())
    (found,) = [each for each in told.aliases if each.alias == name]
    return found


def metadata_of(served_plane: Any, name: str) -> Any:
    """Return the metadata of an application."""
    with served_plane.plane.client() as client:
        return client.get(f"/applications/owner/{name}/metadata").json()


@pytest.fixture(scope="module")
def load(standing: Any) -> Load:
    """A `Load` of requests to one application, and releases of another."""
    load = Load(standing)
    deploy(standing, "work", 0)
    if HAS_CLASSES:
        standing.deploy_class("class", CLASS)
    load.deployed[deploy(standing, "moving", 0)] = 0
    return load


@pytest.mark.parametrize("moment", MOMENTS)
def test_server_that_is_killed_under_load(standing: Any, load: Load, moment: int):
    """
    After SIGKILL at any moment, accepted requests are answered, and are begun again only as
    further attempts; each runner is known or ends, and loaded runners are kept; an alias
    leads to exactly one release.
    """
    served_plane = standing
    pids = {name: ask(served_plane, name)["pid"] for name in load.applications}
    seconds = random.Random(moment).uniform(0.0, SPAN)
    load.run(seconds)
    served_plane.plane.start()

    with served_plane.client() as client:
        for request, (name, number) in load.accepted.items():
            answer = served_plane.finish(name, request)
            reached = begun(served_plane.folder)
            assert (answer.status_code, answer.json()["told"]) == (200, number)
            assert answer.json()["pid"] == pids[name]
            status = client.get(f"/owner/{name}/requests/{request}/status").json()
            assert reached[request] == sorted(set(reached[request]))
            assert status["attempts"] == reached[request][-1]
    load.accepted.clear()

    # A deployment that was under way goes on.
    served_plane.settle(lambda: not alias_of(served_plane, "moving").is_rolling)
    release = ask(served_plane, "moving")["release"]
    finished = max(load.deployed.values())
    assert finished <= release <= load.tried
    assert metadata_of(served_plane, "moving") == {"release": release}
    revision = alias_of(served_plane, "moving").revision
    assert load.deployed.get(revision, release) == release
    load.deployed[revision] = release
    assert {name: ask(served_plane, name)["pid"] for name in load.applications} == pids
    served_plane.settle(lambda: running(served_plane.plane.data) <= known(served_plane))


@attrs.define
class Crowd:
    """
    Clients that submit requests all the time, also while a server starts.

    Attributes:
        accepted: The requests that were accepted, and whether each wants one attempt.

        refused: The other responses.
    """

    served_plane: Any
    accepted: dict[str, bool] = attrs.field(factory=dict)
    refused: list[str] = attrs.field(factory=list)
    _ended: threading.Event = attrs.field(factory=threading.Event)

    def submit(self, once: bool) -> None:
        """Submit requests until the end, after each kill on a new connection."""
        headers = {"X-Fal-No-Retry": "1"} if once else {}
        while not self._ended.is_set():
            # Servers that are killed, or not started yet, break connections.
            with suppress(httpx.TransportError), self.served_plane.client() as client:
                while not self._ended.wait(0.2):
                    answer = client.post("/owner/crowded", json=0, headers=headers)
                    if answer.status_code == 200:
                        self.accepted[answer.json()["request_id"]] = once
                    else:
                        self.refused.append(f"{answer.status_code} {answer.text}")

    @contextmanager
    def submitting(self, clients: int) -> Iterator[None]:
        """Submit requests from *clients* threads within this block."""
        threads = [
            threading.Thread(target=self.submit, args=[bool(number % 2)])
            for number in range(clients)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            for thread in threads:
                thread.join()


def test_requests_that_come_while_a_server_starts(standing: Any):
    """
    Requests submitted all the time, from many clients, to a server that is killed again and
    again are each begun as often as told; one that wants one attempt is begun once; and
    nobody is told that the application does not exist.
    """
    served_plane = standing
    deploy(served_plane, "crowded", 0)
    ask(served_plane, "crowded")
    crowd, moments = Crowd(served_plane), random.Random(0)
    with crowd.submitting(clients=8):
        for _ in KILLS:
            # Requests wait, run and are submitted when the server is killed.
            time.sleep(moments.uniform(0.1, SPAN))
            served_plane.plane.kill()
            served_plane.plane.start()

    assert crowd.refused == []
    assert crowd.accepted
    with served_plane.client() as client:
        for request in crowd.accepted:
            url = f"/owner/crowded/requests/{request}/status"
            served_plane.settle(lambda url=url: client.get(url).status_code == 200)
        reached_by = begun(served_plane.folder)
        for request, once in crowd.accepted.items():
            url = f"/owner/crowded/requests/{request}"
            attempts = client.get(f"{url}/status").json()["attempts"]
            answer = client.get(url)
            reached = reached_by[request]
            if answer.status_code == 200:
                assert reached == list(range(reached[0], attempts + 1))
                assert not once or attempts == 1
            else:
                # A runner had it, or was about to, when the server was killed.
                assert once, answer.text
                assert answer.json()["error_type"] == "runner_disconnected"
                assert (len(reached) <= 1, attempts) == (True, 1)


@attrs.frozen
class Killed:
    """
    Requests, a call and files from before a server was killed, for its successor.

    Attributes:
        served_plane: The server that was started next.

        once: A request that a runner had, whose sender wants one attempt.

        again: One that a runner had, which may be begun again.

        function: The process of a function that was called.

        files: The files of a runner that has ended with the server.
    """

    served_plane: Any
    once: str
    again: str
    function: int
    files: Path


@pytest.fixture(scope="module")
def killed(standing: Any) -> Killed:
    """A server that was killed with much under way, and started again."""
    served_plane = standing
    served_plane.deploy("once", max_multiplexing=2)
    once = served_plane.submit("once/hold", {"gate": "once"}, X_Fal_No_Retry="1")
    again = served_plane.submit("once/hold", {"gate": "once"})
    for each in (once, again):
        served_plane.begin("once", each)
    place = served_plane.folder / "function"

    def call() -> None:
        place.write_text(str(os.getpid()))
        # Ends by being cancelled or killed.
        time.sleep(600)

    def run() -> None:
        with suppress(grpc.RpcError):
            served_plane.run(call)

    running = threading.Thread(target=run)
    running.start()
    served_plane.settle(lambda: place.exists() and place.read_text())
    function = make_recorder(str(served_plane.folder), 1)
    early = served_plane.deploy("early", function=function, min_concurrency=1)
    files = served_plane.plane.data / "runners" / "gone"
    files.mkdir(parents=True)
    (files / "weights").write_text("large")
    served_plane.plane.kill()
    running.join()
    with sqlite3.connect(served_plane.plane.data / "state.db") as connection:
        connection.execute("delete from aliases where revision = ?", (early,))
    connection.close()
    served_plane.plane.start()
    return Killed(served_plane, once, again, int(place.read_text()), files)


def test_one_attempt_alone(killed: Killed):
    """A request whose sender wants one attempt is not begun again by the next server."""
    served_plane = killed.served_plane
    served_plane.open("once")
    answer = served_plane.finish("once", killed.once)
    assert (answer.status_code, answer.json()["error_type"]) == (503, "runner_disconnected")
    assert served_plane.status("once", killed.once).json()["attempts"] == 1
    assert served_plane.finish("once", killed.again).status_code == 200
    assert served_plane.status("once", killed.again).json()["attempts"] == 2
    assert served_plane.order().count(f"hold {killed.once}") == 1


def test_what_ends_with_a_server(killed: Killed):
    """
    The functions that a server had called end with it, and the next one removes the
    files of runners that are gone.
    """
    killed.served_plane.settle(lambda: not is_alive(killed.function))
    assert not killed.files.exists()


def test_runner_that_nobody_has_any_more(killed: Killed):
    """
    A runner that belongs to no application is ended, even if the server was killed before
    it had sent it the function to serve.
    """
    data = killed.served_plane.plane.data
    killed.served_plane.settle(lambda: running(data) <= known(killed.served_plane))
