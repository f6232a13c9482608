"""
Planes: a control plane in a process of its own, and what is deployed on it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from benchmarks.peers.bodies import BODY
from benchmarks.services import end_session, post

_FILE = Path(__file__).with_name("deployed.py")

#: Seconds that anything may take.
_PATIENCE = 90.0


@attrs.frozen(kw_only=True)
class Plane:
    """
    A control plane that runs.

    Attributes:
        pid: Its process.

        directory: Its data directory.

        variables: What points clients at it.
    """

    pid: int
    directory: Path
    variables: dict[str, str]

    def url(self, variable: str = "FAL_RUN_HOST", *, name: str = "echo") -> str:
        """
        Return where an application is called.
        """
        return f"http://{self.variables[variable]}/owner/{name}"

    def client(self) -> Any:
        """
        Return a client of this project.
        """
        from fal_host_serverless import SyncServerlessClient

        return SyncServerlessClient(
            host=self.variables["FAL_GRPC_HOST"], api_key=self.variables["FAL_KEY"]
        )

    def deploy(self, name: str = "echo", *, client: Any = None) -> None:
        """
        Deploy the application.
        """
        (client or self.client()).deploy(f"{_FILE}::Echo", app_name=name)


@contextmanager
def control_plane(*options: str, machine: str = "local") -> Iterator[Plane]:
    """
    Start a control plane on a new directory, and point this process at it.

    Arguments:
        options: What it is started with, and the commands for its database.

        machine: The host of its runners. Where that is another machine, the variables by which
            Ray is reached are passed on.
    """
    more = ["--machine", machine, *options]
    opens = [] if machine == "local" else ["--allow-open-runners", "--variable", "RAY_*"]
    with tempfile.TemporaryDirectory(prefix="fal-core-benchmarks-") as directory:
        command = [sys.executable, "-m", "fal_core.cli", "server"]
        process = subprocess.Popen(
            [*command, "start", "--port", "0", "--data", directory, *more, *opens],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        try:
            assert process.stdout is not None
            while not process.stdout.readline().startswith("# Ready"):
                if process.poll() is not None:
                    raise RuntimeError(f"The server ended with {process.returncode}.")
            shown = subprocess.check_output([*command, "env", "--json", "--data", directory])
            variables = json.loads(shown)
            os.environ.update(variables)
            yield Plane(pid=process.pid, directory=Path(directory), variables=variables)
        finally:
            end_session(process)
            subprocess.run([*command, "end-runners", "--data", directory, *more], check=True)


@contextmanager
def deployed(*options: str, machine: str = "local") -> Iterator[Plane]:
    """
    Start a control plane with the application, which has answered.
    """
    with control_plane(*options, machine=machine) as plane:
        plane.deploy()
        post(f"{plane.url()}/sync", BODY)
        yield plane


@contextmanager
def alone() -> Iterator[str]:
    """
    Serve the application by itself, and yield where it answers.
    """
    from benchmarks.deployed import Echo

    service = Echo.spawn(kind="current")
    try:
        assert service.url is not None
        post(f"{service.url}/sync", BODY)
        yield service.url
    finally:
        service.cancel()


def wait_until(check: Any) -> None:
    """
    Wait until *check* is true.
    """
    until = time.monotonic() + _PATIENCE
    while not check():
        if time.monotonic() > until:
            raise RuntimeError("It took too long.")
        time.sleep(0.002)


def kill_runners(client: Any) -> None:
    """
    End all runners, and wait until they have ended.
    """

    def live() -> list[Any]:
        return list(client.runners.list())

    for runner in live():
        client.runners.kill(runner.runner_id)
    wait_until(lambda: not live())
