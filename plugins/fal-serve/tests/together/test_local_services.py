"""Services on the local host, from launch to end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fal_core import Cancelled, HostError, WorkerLost, attach, function
from fal_core_worker.serving.ports import free_port
from fal_host_local import LocalHost, PortTaken
from fal_serve import App, AppException, HealthCheck, endpoint
from fal_testing import InProcessHost
from fal_testing.harness.processes import is_alive, wait_until
from fal_testing.harness.requests import Response, ask, is_reachable

PATIENCE = 60.0


@pytest.fixture
def host() -> Iterator[LocalHost]:
    """A local host for a single test."""
    host = LocalHost()
    yield host
    host.close()


def make_served(host: LocalHost) -> Any:
    """Return a served function that returns the id of the process."""

    @function("current", host=host, serve=True)
    def tell() -> dict[str, Any]:
        import os

        return {"pid": os.getpid(), "files": len(os.listdir("/proc/self/fd"))}

    return tell


def pid_at(url: str | None) -> int:
    assert url is not None
    answer = ask(url, PATIENCE)
    assert answer.status == 200, answer
    return int(answer.body["pid"])


def test_a_closed_host_ends_its_services(host: LocalHost):
    """Closing the host ends its services and frees their ports."""
    served = make_served(host)
    infos = [served.spawn() for _ in range(2)]
    urls = [info.url for info in infos]
    pids = {pid_at(url) for url in urls}
    assert len(pids) == len({*urls}) == 2

    host.close()

    for info in infos:
        with pytest.raises(HostError):
            info.future.result(PATIENCE)
    assert wait_until(lambda: not any(map(is_alive, pids)), PATIENCE)
    assert wait_until(lambda: not any(is_reachable(str(url)) for url in urls), PATIENCE)


def test_a_service_has_no_shared_memory(host: LocalHost):
    """A service does not use memory shared with its client."""
    maps = Path(f"/proc/{pid_at(make_served(host).spawn().url)}/maps").read_text()

    assert "memfd:fal-core" not in maps


def test_services_that_ended_leave_nothing_open(host: LocalHost):
    """After many services, this process has no descriptor of theirs open."""
    served = make_served(host)

    def serve_once() -> None:
        info = served.spawn()
        assert is_reachable(str(info.url))
        info.cancel()
        with pytest.raises(Cancelled):
            info.future.result(PATIENCE)

    serve_once()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        serve_once()
    assert wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before, PATIENCE)
    assert wait_until(lambda: host.worker_count == 0, PATIENCE)


def test_a_function_has_another_served_at_home(host: LocalHost):
    """
    A function that calls a served one has it served by its caller, waits for it, and ends
    it together with itself.
    """
    served = make_served(host)

    @function("current", host=host, keep_alive=0)
    def start() -> None:
        served()

    info = start.spawn()
    assert wait_until(lambda: host.worker_count == 2, PATIENCE)
    info.cancel()
    assert info.future is not None
    with pytest.raises(Cancelled):
        info.future.result(PATIENCE)
    assert wait_until(lambda: host.worker_count == 0, PATIENCE)


CLIENT = """
import os, sys, time
from fal_core import function

@function("current", serve=True)
def tell():
    import os
    return {"pid": os.getpid()}

def show(info):
    print(info.url, info.reference, flush=True)

what = sys.argv[1]
if what == "detach":
    show(tell.with_policy(lifetime="detached").spawn())
    os.kill(os.getpid(), 9)
show(tell.spawn())
if what == "fork":
    child = os.fork()
    if not child:
        # A child has services of its own, and ends with them alone.
        show(tell.spawn())
        os._exit(0)
    os.waitpid(child, 0)
    print("forked", flush=True)
# Ends by being killed.
time.sleep(600)
"""

Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def start_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start a program that serves a function."""
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "cache"))
    started: list[subprocess.Popen[str]] = []

    def start(what: str) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", CLIENT, what],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def read_line(client: subprocess.Popen[str]) -> list[str]:
    assert client.stdout is not None
    words = client.stdout.readline().split()
    if not words:
        raise AssertionError(client.communicate()[1])
    return words


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_service_ends_with_its_client(start_client: Start, number: int):
    """However the client ends, its services end too."""
    client = start_client("spawn")
    url, _ = read_line(client)
    pid = pid_at(url)

    client.send_signal(number)

    client.wait(PATIENCE)
    assert wait_until(lambda: not (is_alive(pid) or is_reachable(url)), PATIENCE)


def test_a_forked_client_has_services_of_its_own(start_client: Start):
    """A forked child has its own services, and its end does not affect those of the parent."""
    client = start_client("fork")
    (url, _), (other, _) = read_line(client), read_line(client)
    assert url != other
    assert read_line(client) == ["forked"]
    assert pid_at(url)
    assert wait_until(lambda: not is_reachable(other), PATIENCE)


def test_a_detached_service_outlives_its_client(start_client: Start, tmp_path: Path):
    """
    A detached service outlives its client; it can be attached to, its url read, and ended by
    its reference.
    """
    client = start_client("detach")
    url, reference = read_line(client)
    assert client.wait(PATIENCE) == -signal.SIGKILL
    pid = pid_at(url)

    info = attach("local", reference)
    assert info.url == url
    (status,) = LocalHost().executions()
    assert (status.reference, status.phase, status.ended) == (reference, "ready", False)

    info.cancel()

    assert info.future is not None
    with pytest.raises(Cancelled):
        info.future.result(PATIENCE)
    assert not is_reachable(url)
    path = tmp_path / "cache" / "executions" / reference / "status.json"
    supervisor = int(json.loads(path.read_text())["pid"])
    assert wait_until(lambda: not (is_alive(pid) or is_alive(supervisor)), PATIENCE)


def test_a_detached_service_is_drained(start_client: Start):
    """A detached service can be drained after attaching."""
    client = start_client("detach")
    url, reference = read_line(client)
    client.wait(PATIENCE)

    info = attach("local", reference)
    assert info.url == url
    info.stream.drain()

    assert info.future is not None
    assert info.future.result(PATIENCE) is None
    assert not is_reachable(url)


def test_a_service_answers_who_asks_again(host: LocalHost):
    """A service is one process for all requests."""
    info = make_served(host).spawn()
    pids = {pid_at(info.url) for _ in range(20)}

    assert len(pids) == 1
    assert ask(f"{info.url}/nowhere", PATIENCE) != Response(200, None)


@pytest.mark.parametrize("make_host", [LocalHost, InProcessHost])
def test_a_port_of_metrics_that_is_declared_is_used(make_host: Any):
    """``metrics_port`` is not reported as unused."""
    host = make_host()
    port = free_port()

    @function("current", host=host, serve=True, metrics_port=port, on_unsupported="error")
    def greet() -> str:
        return "hello"

    info = greet.spawn()
    assert info.url is not None
    assert info.urls["metrics"] == f"http://127.0.0.1:{port}"
    info.stream.drain()
    assert info.future.result(PATIENCE) is None
    host.close()


def test_a_port_that_a_service_has_is_told_with_its_name(host: LocalHost):
    """If a port is taken by another service, the error names it; afterwards the port is free."""
    port = free_port()
    served = make_served(host).on(exposed_port=port)
    first = served.spawn()
    assert first.url == f"http://127.0.0.1:{port}"

    with pytest.raises(PortTaken, match=rf"by the function 'tell' \({first.reference}\)"):
        served.spawn()
    # Nothing was started for it.
    assert host.worker_count == 1
    first.cancel()
    with pytest.raises(Cancelled):
        first.future.result(PATIENCE)
    again = served.spawn()
    assert pid_at(again.url)

    # At another address of this machine somebody else may have it.
    with socket.create_server(("127.0.0.2", free_port())) as server:
        elsewhere = server.getsockname()[1]
        assert pid_at(make_served(host).on(exposed_port=elsewhere).spawn().url)


# -- what a service says of its health ------------------------------------------------


def make_checked(host: LocalHost, statuses: list[int], **check: Any) -> Any:
    """Return the spawned application, whose health check returns *statuses*, and then 200."""
    left = list(statuses)

    class Checked(App, kind="current"):
        @endpoint("/well", health_check=HealthCheck(method="GET", **check))
        def well(self) -> None:
            if left and (status := left.pop(0)) != 200:
                raise AppException("unwell", status)

    return Checked.spawn(host=host).info


def asked_for_health(info: Any) -> list[int]:
    """Return the statuses of the health checks in the log so far."""
    lines = [
        json.loads(line.message) for line in list(info.logs.queue) if "/well" in line.message
    ]
    return [line["status"] for line in lines if "status" in line]


def test_an_application_is_ready_once_it_says_that_it_is_well(host: LocalHost):
    """
    The url is available after the first 2xx of the health check, which is not repeated
    unless declared so.
    """
    info = make_checked(host, [503, 500])

    assert info.url is not None
    assert wait_until(lambda: asked_for_health(info) == [503, 500, 200], PATIENCE)
    info.cancel()
    with pytest.raises(Cancelled):
        info.future.result(PATIENCE)


def test_an_application_that_is_never_well_is_ended(
    host: LocalHost, monkeypatch: pytest.MonkeyPatch
):
    """An application whose checks never succeed is ended in the end."""
    monkeypatch.setattr("fal_core.pools.readiness._REGULARLY", 0.05)
    info = make_checked(host, [500] * 1000, call_regularly=True, failure_threshold=1)

    with pytest.raises(WorkerLost, match="never answered its health check"):
        assert info.url


def test_an_application_that_drains_is_not_asked(
    host: LocalHost, monkeypatch: pytest.MonkeyPatch
):
    """Health checks stop while the application drains, and running requests finish."""
    monkeypatch.setattr("fal_core.pools.readiness._REGULARLY", 0.05)

    class Slow(App, kind="current"):
        @endpoint("/slow")
        def slow(self) -> str:
            import time

            print("begun")
            # Long enough for many health checks, were there any meanwhile.
            time.sleep(1.0)
            return "done"

        @endpoint(
            "/well",
            health_check=HealthCheck(method="GET", call_regularly=True, failure_threshold=1),
        )
        def well(self) -> None: ...

    info = Slow.spawn(host=host).info
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, f"{info.url}/slow", PATIENCE)
        while info.logs.get(timeout=PATIENCE).message != "begun":
            pass
        info.stream.drain()
        assert answer.result(PATIENCE) == Response(200, "done")
    assert info.future.result(PATIENCE) is None
