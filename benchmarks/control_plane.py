"""The control plane: its gateway, queue, runners and deployments."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from statistics import median
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

from benchmarks.clusters import on_cluster
from benchmarks.databases import database
from benchmarks.figures import FAL_CORE, Contestant, Figure, Goal, Measure, Role
from benchmarks.footprints import memory
from benchmarks.loads import ask, describe_client
from benchmarks.peers.bodies import BODY
from benchmarks.planes import (
    Plane,
    alone,
    control_plane,
    deployed,
    kill_runners,
    wait_until,
)
from benchmarks.services import await_answer, end_session, free_ports, post, serve_peer

_HERE = "benchmarks.control_plane:"

HERE, DIRECT, PROXY, RAY, SDK, SQLITE = (
    "its runner on this machine",
    "the service itself",
    "a bare aiohttp proxy",
    "Ray Serve",
    "the fal SDK",
    "SQLite",
)


@contextmanager
def gateway(way: str, measure: str, connections: int, seconds: float) -> Iterator[Measure]:
    """Measure requests through the gateway, to the same service, or through a bare proxy of that."""
    with _served(way) as base:

        def load(seconds: float) -> Any:
            return ask(f"{base}/sync", BODY, connections=connections, seconds=seconds)

        load(max(1.0, seconds / 4))
        yield lambda: float(getattr(load(seconds), measure))


@contextmanager
def _served(way: str) -> Iterator[str]:
    """
    Yield where the application is reached: a runner listens on a socket of its own, so that
    the same application is served at a port for those who do without the gateway.
    """
    if way == "gateway":
        with deployed() as plane:
            yield plane.url()
        return
    if way == "cluster":
        with on_cluster() as cluster:
            os.environ["RAY_ADDRESS"] = cluster.address
            with deployed(machine="ray") as plane:
                yield plane.url()
        return
    with alone() as direct:
        if way == "direct":
            yield direct
        else:
            with _proxied(direct) as proxy:
                yield proxy


@contextmanager
def _proxied(target: str) -> Iterator[str]:
    (port,) = free_ports(1)
    argv = [sys.executable, "-m", "benchmarks.peers.proxy", "--port", str(port)]
    process = subprocess.Popen([*argv, "--target", target], start_new_session=True)
    try:
        await_answer(f"http://127.0.0.1:{port}/sync", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        end_session(process)


@contextmanager
def gateway_ray(measure: str, connections: int, seconds: float) -> Iterator[Measure]:
    """Measure requests through the proxy of Ray Serve."""
    with serve_peer("ray_serve") as served:

        def load(seconds: float) -> Any:
            return ask(f"{served.url}/sync", BODY, connections=connections, seconds=seconds)

        load(max(1.0, seconds / 4))
        yield lambda: float(getattr(load(seconds), measure))


@contextmanager
def queue_answer(count: int) -> Iterator[Measure]:
    """Submit requests, one at a time, and ask for the result until it is there."""
    with deployed() as plane:
        parts = urlsplit(plane.url("FAL_QUEUE_RUN_HOST"))
        connection = http.client.HTTPConnection(parts.netloc, timeout=30)
        key = {"Authorization": f"Key {plane.variables['FAL_KEY']}"}
        body = json.dumps(BODY)

        def exchange(method: str, path: str, body: str | None = None) -> tuple[int, Any]:
            headers = {**key, "Content-Type": "application/json"}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

        def once() -> float:
            began = perf_counter()
            _, told = exchange("POST", f"{parts.path}/sync", body)
            path = f"{parts.path}/requests/{told['request_id']}"
            while exchange("GET", path)[0] != 200:
                pass
            return perf_counter() - began

        once()
        yield lambda: median(once() for _ in range(count))
        connection.close()


@contextmanager
def queue_submissions(
    connections: int, seconds: float, kind: str = "sqlite"
) -> Iterator[Measure]:
    """
    Submit requests as fast as they are taken; every one of them is answered.

    Arguments:
        kind: The kind of the database.
    """
    with database(kind) as options, deployed(*options) as plane:
        answered = 1

        def measure() -> float:
            nonlocal answered
            shown = ask(
                f"{plane.url('FAL_QUEUE_RUN_HOST')}/sync",
                BODY,
                connections=connections,
                seconds=seconds,
            )
            accepted = int(shown.rate * seconds)
            before, answered = answered, answered + accepted
            wait_until(lambda: _answered(plane) >= answered)
            answered = _answered(plane)
            assert answered - before >= accepted, "a request was lost"
            return float(shown.rate)

        yield measure


def _answered(plane: Plane) -> int:
    time.sleep(0.05)
    return int(post(f"{plane.url()}/answered", None))


@contextmanager
def from_zero() -> Iterator[Measure]:
    """Call an application that has no runner, whose environment is built."""
    with deployed() as plane:
        client = plane.client()

        def measure() -> float:
            kill_runners(client)
            began = perf_counter()
            post(f"{plane.url()}/sync", BODY)
            return perf_counter() - began

        yield measure


@contextmanager
def deployment() -> Iterator[Measure]:
    """Deploy an application whose environment has not changed."""
    with deployed() as plane:
        client = plane.client()

        def measure() -> float:
            began = perf_counter()
            plane.deploy(client=client)
            return perf_counter() - began

        measure()
        yield measure


def increment(x: int) -> int:
    """The function that is called."""
    return x + 1


@contextmanager
def function_call(count: int) -> Iterator[Measure]:
    """Call a function in a warm runner."""
    from fal_core import function

    with control_plane() as plane:
        url = f"serverless://{plane.variables['FAL_GRPC_HOST']}"
        isolated = function("virtualenv", host=url, keep_alive=600)(increment)
        yield _timed(isolated, count)


@contextmanager
def function_call_sdk(count: int) -> Iterator[Measure]:
    """Do the same with the released SDK."""
    with control_plane():
        import fal

        yield _timed(fal.function(keep_alive=600)(increment), count)


def _timed(isolated: Any, count: int) -> Measure:
    assert isolated(1) == 2

    def measure() -> float:
        times = []
        for number in range(count):
            began = perf_counter()
            answer = isolated(number)
            times.append(perf_counter() - began)
            assert answer == number + 1
        return median(times)

    return measure


@contextmanager
def idle(count: int, measure: str, seconds: float) -> Iterator[Measure]:
    """
    Measure a server that has *count* applications and nothing to do: its memory, or
    the seconds of processor time it takes in one.
    """
    with control_plane() as plane:
        client = plane.client()
        for number in range(count):
            plane.deploy(f"echo-{number}", client=client)

        def processor() -> float:
            before = _processor_time(plane.pid)
            time.sleep(seconds)
            return (_processor_time(plane.pid) - before) / seconds

        yield processor if measure == "processor" else lambda: memory(plane.pid, measure)


def _processor_time(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def figures(*, quick: bool) -> list[Figure]:
    """Return the figures of this theme."""
    seconds = 2.0 if quick else 4.0
    count = 50 if quick else 200
    applications = 20 if quick else 200
    return [
        _gateway("rate", 16, seconds),
        _gateway("p50", 1, seconds),
        _gateway_to_cluster(seconds),
        _own(
            "queue-answer",
            "queue: durable submit to the result, one at a time",
            "ms",
            (Goal(plus=0.015),),
            "queue_answer",
            {"count": count},
        ),
        _own(
            "queue-submissions",
            "queue: durable submissions",
            "requests/s",
            (Goal(plus=1000.0, at_least=True),),
            "queue_submissions",
            {"connections": 16, "seconds": seconds},
            note=f"16 connections, {describe_client()}; every one is answered",
        ),
        _submissions_to_postgresql(seconds),
        _own(
            "from-zero",
            "no runner, environment built: request to the answer",
            "s",
            (Goal(plus=1.0),),
            "from_zero",
        ),
        _own(
            "deployment",
            "deploy with an unchanged environment",
            "s",
            (Goal(plus=1.0),),
            "deployment",
        ),
        _function_call(count),
        _own(
            "idle-plane-memory",
            f"resident memory of a server of {applications} applications",
            "MiB",
            (Goal(plus=200 * 2.0**20),),
            "idle",
            {"count": applications, "measure": "rss", "seconds": 0.0},
        ),
        _own(
            "idle-plane-processor",
            f"processor time that a server of {applications} applications takes in a second",
            "ms",
            (Goal(plus=0.005),),
            "idle",
            {
                "count": applications,
                "measure": "processor",
                "seconds": 5.0 if quick else 60.0,
            },
            note="nothing is asked of it",
        ),
    ]


def _contestant(
    name: str,
    target: str,
    settings: Mapping[str, Any],
    *,
    role: Role = "peer",
    needs: tuple[str, ...] = (),
    private: bool = False,
) -> Contestant:
    return Contestant(
        name=name,
        target=_HERE + target,
        settings=settings,
        role=role,
        needs=needs,
        private=private,
        pinned=False,
    )


def _own(
    name: str,
    title: str,
    unit: str,
    goals: tuple[Goal, ...],
    target: str,
    settings: Mapping[str, Any] | None = None,
    note: str = "",
) -> Figure:
    needs = ("fal_server", "fal_host_serverless", "fal_serve")
    own = _contestant(FAL_CORE, target, settings or {}, role="fal-core", needs=needs)
    return Figure(name=name, title=title, unit=unit, contestants=(own,), goals=goals, note=note)


def _gateway(measure: str, connections: int, seconds: float) -> Figure:
    rate = measure == "rate"
    load = {"measure": measure, "connections": connections, "seconds": seconds}
    needs = ("fal_server", "fal_host_serverless", "fal_serve")

    def through(name: str, way: str, role: Role) -> Contestant:
        return _contestant(name, "gateway", {"way": way, **load}, role=role, needs=needs)

    goal = (
        Goal(against=DIRECT, factor=0.6, at_least=True)
        if rate
        else Goal(against=DIRECT, plus=0.0005)
    )
    return Figure(
        name=f"gateway-{measure}",
        title="an application through the gateway: "
        + ("requests a second" if rate else "half of the answers come within"),
        unit="requests/s" if rate else "ms",
        note=f"{connections} connection{'s' * (connections > 1)}, {describe_client()}",
        contestants=(
            through(FAL_CORE, "gateway", "fal-core"),
            through(DIRECT, "direct", "reference"),
            through(PROXY, "proxy", "reference"),
            _contestant(RAY, "gateway_ray", load, needs=("ray",), private=True),
        ),
        goals=(goal,),
    )


def _gateway_to_cluster(seconds: float) -> Figure:
    load = {"measure": "rate", "connections": 16, "seconds": seconds}
    needs = ("fal_server", "fal_host_serverless", "fal_serve", "fal_host_ray", "ray")
    here, there = {"way": "gateway", **load}, {"way": "cluster", **load}
    return Figure(
        name="gateway-ray",
        title="an application through the gateway, its runner on Ray: requests a second",
        unit="requests/s",
        note=f"16 connections, {describe_client()}",
        contestants=(
            _contestant(FAL_CORE, "gateway", there, role="fal-core", needs=needs),
            _contestant(HERE, "gateway", here, role="reference", needs=needs),
            _contestant(RAY, "gateway_ray", load, needs=("ray",), private=True),
        ),
        goals=(Goal(against=HERE, factor=0.9, at_least=True),),
    )


def _function_call(count: int) -> Figure:
    needs = ("fal_server", "fal_host_serverless")
    own = _contestant(FAL_CORE, "function_call", {"count": count}, role="fal-core", needs=needs)
    sdk = _contestant(SDK, "function_call_sdk", {"count": count}, needs=("fal",))
    return Figure(
        name="remote-call",
        title="warm call of a function through the server",
        unit="ms",
        note="x + 1, one at a time; both on servers of this project",
        contestants=(own, sdk),
        goals=(Goal(against=SDK), Goal(plus=0.005)),
    )


def _submissions_to_postgresql(seconds: float) -> Figure:
    needs = ("fal_server", "fal_host_serverless", "fal_serve")
    load = {"connections": 16, "seconds": seconds}
    own = _contestant(
        FAL_CORE,
        "queue_submissions",
        {**load, "kind": "postgresql"},
        role="fal-core",
        needs=(*needs, "psycopg"),
    )
    sqlite = _contestant(SQLITE, "queue_submissions", load, role="reference", needs=needs)
    return Figure(
        name="queue-submissions-postgresql",
        title="queue: durable submissions, with the state in PostgreSQL",
        unit="requests/s",
        note=f"16 connections, {describe_client()}; every one is answered, and on disk",
        contestants=(own, sqlite),
        goals=(Goal(against=SQLITE, factor=0.4, at_least=True),),
    )
