"""Deployments that are interrupted: by a server that is killed, and by Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cloudpickle
import httpx
import pytest
from holding import make_server
from isolate_proto import ListAliasesRequest, ListAliasRunnersRequest
from isolate_proto import controller_pb2 as wire

pytestmark = pytest.mark.faults


class Released:
    """
    An application on a server in a process of its own, whose releases start once there is
    no file that holds them.
    """

    def __init__(self, standing: Any, name: str) -> None:
        self.standing = standing
        self.name = name
        self.revisions: dict[int, str] = {}

    def deploy(self, release: int, *, strategy: int = wire.ROLLING, held: bool = False) -> None:
        """Deploy a release and wait until it has come up, unless it is *held*."""

        def change(request: Any) -> None:
            request.deployment_strategy = strategy

        if held:
            self.standing.open(f"starting-{release}")
        self.revisions[release] = self.standing.deploy(
            self.name,
            function=make_server(str(self.standing.folder), release),
            change=change,
            attach=False if held else None,
        )

    def release(self, release: int) -> None:
        """Let a release start that is held."""
        (self.standing.folder / f"starting-{release}").unlink()

    def restart(self) -> None:
        """Kill the server, and start it again."""
        self.standing.plane.kill()
        self.standing.plane.start()

    def ask(self) -> int:
        """Return the release that answers a request."""
        with self.standing.client("run") as client:
            answer: httpx.Response = client.get(f"/owner/{self.name}")
        assert answer.status_code == 200, answer.text
        return int(answer.json()["release"])

    def runners(self, release: int) -> list[str]:
        """Return the ids of the runners of a release that start or take requests."""
        request = ListAliasRunnersRequest(alias=self.name, list_pending=True)
        found = self.standing.plane.call("ListAliasRunners", request).runners
        return [each.runner_id for each in found if each.revision == self.revisions[release]]

    def alias(self) -> Any:
        """Return the description of the application."""
        found = self.standing.plane.call("ListAliases", ListAliasesRequest()).aliases
        return next(each for each in found if each.alias == self.name)


@pytest.fixture(autouse=True)
def _by_value() -> None:
    cloudpickle.register_pickle_by_value(sys.modules["holding"])


def test_server_that_is_killed_during_a_deployment(standing: Any):
    """The previous revision goes on, and the next server with the deployment and its runner."""
    app = Released(standing, "killed")
    app.deploy(1)
    app.deploy(2, held=True)
    standing.settle(lambda: any("waits" in line for line in standing.lines("killed")))
    (runner,) = app.runners(2)
    app.restart()
    assert app.ask() == 1
    assert (app.alias().revision, app.alias().is_rolling) == (app.revisions[1], True)
    app.release(2)
    standing.settle(lambda: app.ask() == 2)
    assert app.runners(2) == [runner]
    assert (app.alias().revision, app.alias().is_rolling) == (app.revisions[2], False)
    app.restart()
    assert app.ask() == 2


def test_server_that_is_killed_during_a_deployment_that_fails(standing: Any):
    """A deployment that fails after the server was killed leaves the application as it was."""
    app = Released(standing, "failing")
    app.deploy(1)
    app.deploy(3, held=True)
    app.restart()
    standing.settle(lambda: app.runners(3))
    for runner in app.runners(3):
        standing.plane.call("KillRunner", wire.KillRunnerRequest(runner_id=runner))
    standing.settle(lambda: not app.alias().is_rolling)
    app.restart()
    assert (app.alias().revision, app.alias().is_rolling) == (app.revisions[1], False)
    assert app.ask() == 1


def test_server_that_is_killed_while_an_application_is_recreated(standing: Any):
    """Requests wait for the new revision at the next server as well."""
    app = Released(standing, "recreated")
    app.deploy(1)
    app.deploy(4, strategy=wire.RECREATE, held=True)
    standing.settle(lambda: any("waits" in line for line in standing.lines("recreated")))
    waiting = standing.submit("recreated")
    app.restart()
    assert standing.status("recreated", waiting).json()["status"] == "IN_QUEUE"
    app.release(4)
    assert standing.finish("recreated", waiting).json()["release"] == 4
    standing.settle(lambda: app.alias().revision == app.revisions[4])


#: Starts once there is a file.
SOURCE = """
    import os
    import time
    from pathlib import Path

    from fal_serve import App, endpoint


    class Served(App, keep_alive=300):
        def setup(self) -> None:
            print("is held", flush=True)
            # Until the test lets it go.
            while not Path(FOLDER, "start").exists():
                time.sleep(0.02)

        @endpoint("/")
        def look(self) -> int:
            return os.getpid()
"""


@contextmanager
def deploying(standing: Any, name: str) -> Iterator[subprocess.Popen[str]]:
    """Run ``fal-core deploy`` and yield it once the runner of the deployment starts."""
    pytest.importorskip("fal_host_serverless")
    pytest.importorskip("fal_serve")
    with subprocess.Popen(
        **standing.deploying(name, SOURCE),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as command:
        assert command.stdout is not None
        try:
            for line in command.stdout:
                if "is held" in line:
                    break
            yield command
        finally:
            command.kill()


def read(command: subprocess.Popen[str]) -> str:
    """Return what a command prints until it ends."""
    assert command.stdout is not None
    told = command.stdout.read()
    command.wait()
    return told


def test_interrupted_command(standing: Any):
    """
    ``fal-core deploy`` that Ctrl-C ends says that the server goes on, and how to see and to
    end that.
    """
    with deploying(standing, "stopped") as command:
        command.send_signal(signal.SIGINT)
        told = read(command)
    assert command.returncode == 130, told
    assert "The service goes on with the deployment of stopped." in told
    assert "'fal-core apps runners stopped'" in told
    assert "Traceback" not in told
    standing.open("start")
    with standing.client("run") as client:
        assert client.post("/owner/stopped", json={}).status_code == 200


def test_command_whose_server_is_killed(standing: Any):
    """``fal-core deploy`` fails if the server ends, and says what it goes on with."""
    (standing.folder / "start").unlink(missing_ok=True)
    with deploying(standing, "lost") as command:
        standing.plane.kill()
        told = read(command)
    assert command.returncode == 1, told
    assert "cannot be reached" in told
    assert "The service goes on with the deployment of lost." in told
    assert "Traceback" not in told
    standing.plane.start()
    standing.open("start")
    with standing.client("run") as client:
        assert client.post("/owner/lost", json={}).status_code == 200
