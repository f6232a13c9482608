"""Planes: a control plane in a process of its own, and what is deployed on it."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import attrs

from benchmarks.peers.bodies import BODY
from benchmarks.services import end_session, post

_FILE = Path(__file__).with_name("deployed.py")

#: Seconds that anything may take.
_PATIENCE = 90.0

#: Seconds that runners have to end, and before them servers that were killed to count as such.
_ENDING = 30.0

#: The options of a server that say where its state and its runners are.
_OF_STATE = ("--database", "--machine")


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
        """Return where an application is called."""
        return f"http://{self.variables[variable]}/owner/{name}"

    def client(self) -> Any:
        """Return a client of this project."""
        from fal_host_serverless import SyncServerlessClient

        return SyncServerlessClient(
            host=self.variables["FAL_GRPC_HOST"], api_key=self.variables["FAL_KEY"]
        )

    def deploy(self, name: str = "echo", *, client: Any = None) -> None:
        """Deploy the application."""
        (client or self.client()).deploy(f"{_FILE}::Echo", app_name=name)


@contextmanager
def control_plane(
    *options: str,
    machine: str = "local",
    program: str = "fal_core.cli",
    is_another: bool = False,
) -> Iterator[Plane]:
    """
    Start a control plane on a new directory, and point this process at it. Its runners end
    with it.

    Arguments:
        options: What it is started with, each option with its value.

        machine: The host of its runners. Where that is another machine, the variables by which
            Ray is reached are passed on.

        program: The module that is run as ``fal-core``.

        is_another: Whether it is another one on a database, whose runners end with the first.
    """
    with (
        tempfile.TemporaryDirectory(prefix="fal-core-benchmarks-") as directory,
        _running(
            directory, *options, machine=machine, program=program, is_another=is_another
        ) as plane,
    ):
        yield plane


@contextmanager
def filled(*, applications: int, requests: int = 0) -> Iterator[Plane]:
    """
    Start a control plane with so many applications, of which none runs, and so many requests
    that were answered. All are copies of one.
    """
    with tempfile.TemporaryDirectory(prefix="fal-core-benchmarks-") as directory:
        with _running(directory) as plane:
            plane.deploy()
            if requests:
                _submit(plane)
            kill_runners(plane.client())
        with closing(sqlite3.connect(Path(directory) / "state.db")) as database, database:
            # A revision may have many aliases.
            copy_rows(
                database, "aliases", applications - 1, alias="alias || '-' || copies.number"
            )
            copied = {"id": "id || '-' || copies.number", "number": _NUMBER}
            copy_rows(database, "requests", requests - 1, **copied)
        with _running(directory) as plane:
            yield plane


#: The number of a copy of a request: no other is as high as those of copies.
_NUMBER = "requests.number + copies.number"


def copy_rows(database: sqlite3.Connection, table: str, count: int, **changed: str) -> None:
    """Add *count* copies of the row of a table, whose *changed* columns are expressions of SQL."""
    if count < 1:
        return
    names = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
    values = [changed.get(name, f"{table}.{name}") for name in names]
    database.execute(
        "WITH RECURSIVE copies(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM copies "
        f"WHERE number < {count}) INSERT INTO {table} ({', '.join(names)}) "
        f"SELECT {', '.join(values)} FROM {table}, copies"
    )


def _submit(plane: Plane) -> None:
    """Have a queued request answered."""
    told = json.loads(post(f"{plane.url('FAL_QUEUE_RUN_HOST')}/sync", BODY))

    def is_answered() -> bool:
        with urllib.request.urlopen(told["status_url"], timeout=30) as answer:
            return bool(json.loads(answer.read())["status"] == "COMPLETED")

    wait_until(is_answered)


@contextmanager
def _running(
    directory: str,
    *options: str,
    machine: str = "local",
    program: str = "fal_core.cli",
    is_another: bool = False,
) -> Iterator[Plane]:
    more = ["--machine", machine, *options]
    opens = [] if machine == "local" else ["--allow-open-runners", "--variable", "RAY_*"]
    command = [sys.executable, "-m", "fal_core.cli", "server"]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", program, "server", "start", "--port", "0"),
            *("--data", directory, *more, *opens),
        ],
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
        if process.stdout is not None:
            process.stdout.close()
        if not is_another:
            pairs = zip(more[::2], more[1::2], strict=True)
            state = [word for pair in pairs if pair[0] in _OF_STATE for word in pair]
            _end_runners([*command, "end-runners", "--data", directory, *state])


def _end_runners(command: list[str]) -> None:
    """
    End the runners of servers that have ended, by a *command*. It refuses that as long as one
    that was killed counts as running.
    """
    until = time.monotonic() + _ENDING
    while True:
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            return
        if time.monotonic() > until:
            raise RuntimeError(done.stderr.strip())


@contextmanager
def deployed(*options: str, machine: str = "local") -> Iterator[Plane]:
    """Start a control plane with the application, which has answered."""
    with control_plane(*options, machine=machine) as plane:
        plane.deploy()
        post(f"{plane.url()}/sync", BODY)
        yield plane


@contextmanager
def alone() -> Iterator[str]:
    """Serve the application by itself, and yield where it answers."""
    from benchmarks.deployed import Echo

    service = Echo.spawn(kind="current")
    try:
        assert service.url is not None
        post(f"{service.url}/sync", BODY)
        yield service.url
    finally:
        service.cancel()


def wait_until(check: Any) -> None:
    """Wait until *check* is true."""
    until = time.monotonic() + _PATIENCE
    while not check():
        if time.monotonic() > until:
            raise RuntimeError("It took too long.")
        time.sleep(0.002)


def kill_runners(client: Any) -> None:
    """End all runners, and wait until they have ended."""

    def live() -> list[Any]:
        return list(client.runners.list())

    for runner in live():
        client.runners.kill(runner.runner_id)
    wait_until(lambda: not live())
