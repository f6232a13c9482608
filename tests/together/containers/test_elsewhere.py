"""Engines that are spoken to through a socket, as those on other machines."""

from __future__ import annotations

import array
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from local_engines import LocalEngine

from fal_core import WorkerLost, function
from fal_core.errors import HostError
from fal_env_container import finding
from fal_env_container.finding import find_engine
from fal_host_local import LocalHost
from fal_testing.harness.processes import wait_until

pytestmark = pytest.mark.faults

PATIENCE = 60


class Service:
    """Podman as a service, which its client takes for one on another machine."""

    def __init__(self) -> None:
        # The path of a socket is short.
        self.folder = tempfile.mkdtemp(prefix="fal-podman-", dir="/tmp")
        self.address = f"unix://{self.folder}/s"
        self.start()

    def start(self) -> None:
        variables = {
            name: each for name, each in os.environ.items() if name != "CONTAINER_HOST"
        }
        self._process = subprocess.Popen(
            ["podman", "system", "service", "--time=0", self.address],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert wait_until(self._answers, PATIENCE)

    def _answers(self) -> bool:
        asked = ["podman", "--remote", f"--url={self.address}", "version"]
        return not subprocess.run(asked, capture_output=True).returncode

    def end(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        Path(self.folder, "s").unlink(missing_ok=True)


@pytest.fixture(scope="module")
def running_service(engine: LocalEngine) -> Iterator[Service]:
    service = Service()
    yield service
    service.end()
    os.rmdir(service.folder)


@pytest.fixture
def service(running_service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("CONTAINER_HOST", running_service.address)
    finding.forget()
    yield running_service
    finding.forget()


@pytest.fixture
def host(service: Service) -> Iterator[LocalHost]:
    host = LocalHost()
    yield host
    host.close()


def containers(engine: LocalEngine) -> list[str]:
    """Return the containers as the engine itself knows them."""
    return engine.run("--remote=false", "ps", "--all", "--quiet").split()


def test_a_function_runs_on_an_engine_elsewhere(
    host: LocalHost,
    contained: Any,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """
    Large values go both ways unchanged, lines and errors come back, and what the engine prints
    is in none of them. Nothing of this machine is seen there.
    """
    monkeypatch.chdir(tmp_path)
    assert find_engine().place == "elsewhere"

    @contained(host=host)
    def double(data: bytearray, numbers: Any) -> tuple[bytearray, Any]:
        print("doubling")
        return data[::-1], numbers + numbers

    @contained(host=host)
    def fail(folder: str) -> None:
        raise LookupError(os.path.exists(folder))

    data = bytearray(os.urandom(8 << 20))
    numbers = array.array("d", range(1 << 20))
    assert double(data, numbers) == (data[::-1], numbers + numbers)
    assert capfd.readouterr().out == "doubling\n"
    with pytest.raises(LookupError, match="False"):
        fail(str(tmp_path))


def test_a_path_for_an_engine_elsewhere_is_an_error(
    host: LocalHost, contained: Any, tmp_path: Path
):
    """The function would miss what is there, and the error says which path."""

    @contained(host=host, volumes=[f"{tmp_path}:/models"])
    def never() -> None: ...

    with pytest.raises(HostError, match=f"'{tmp_path}:/models' is a path of this machine"):
        never()


@pytest.mark.parametrize("channel", ["socket", "streams"])
def test_a_function_runs_with_docker(
    channel: str,
    docker: LocalHost,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    """Docker passes no descriptors: a socket brings them, or its streams do for all."""
    monkeypatch.setenv("FAL_CORE_CONTAINER_CHANNEL", channel)
    image = "localhost/tests/python:1"

    @function("container", host=docker, image=image, network="host")
    def double(data: bytearray, numbers: Any) -> tuple[bytearray, Any]:
        print("doubling")
        return data[::-1], numbers + numbers

    data = bytearray(os.urandom(8 << 20))
    numbers = array.array("d", range(1 << 20))
    assert find_engine().name == "docker"
    assert double(data, numbers) == (data[::-1], numbers + numbers)
    assert capfd.readouterr().out == "doubling\n"


def test_a_cancelled_call_leaves_no_container_elsewhere(
    host: LocalHost, cancel_hanging_call: Any, engine: LocalEngine
):
    """The container is ended by the engine, since no signal reaches it."""
    cancel_hanging_call(host)
    assert wait_until(lambda: not containers(engine), PATIENCE)


def test_a_service_that_is_killed_is_named(
    host: LocalHost, service: Service, contained: Any, engine: LocalEngine
):
    """
    A call that is spoken to through the engine is lost with it, and the error names the
    engine. The next call works once there is one again.
    """

    @contained(host=host)
    def hold() -> None:
        import time

        print("holding")
        # Ends by being killed.
        time.sleep(600)

    @contained(host=host)
    def work() -> int:
        return 1

    info = hold.spawn()
    assert info.future is not None
    assert info.logs.get(timeout=PATIENCE).message == "holding"
    assert work() == 1
    service.end()
    with pytest.raises(WorkerLost, match="podman itself was ended or restarted"):
        info.future.result(PATIENCE)
    service.start()
    assert work() == 1
    host.close()
    assert wait_until(lambda: not containers(engine), PATIENCE)
