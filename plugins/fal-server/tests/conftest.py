"""
What the tests of the control plane share.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import grpc
import httpx
import pytest
from isolate_proto.controller_pb2_grpc import IsolateControllerStub

from fal_core.events import Exited
from fal_host_local import LocalHost
from fal_server.accounts import add_member, make_account
from fal_server.directories import DataDirectory
from fal_server.keys import make_key
from fal_server.loops import make_loop
from fal_server.permissions import permissions_of
from fal_server.server import ControlPlane
from fal_server.settings import ServerSettings

T = TypeVar("T")

#: Seconds that anything may take; most takes a fraction of one.
PATIENCE = 60


class Plane:
    """
    A control plane that runs in a thread of its own, with its event loop.
    """

    def __init__(self, data: Path, **settings: Any) -> None:
        self.settings = ServerSettings(data=data, port=0, drain=1.0, **settings)
        self.directory = DataDirectory(data)
        self._loop = make_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="plane")
        self._thread.start()
        try:
            self.plane = self.run(self._start())
        except BaseException:
            self._stop_loop()
            raise

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """
        Run *work* in the loop of the control plane.
        """
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def here(self, work: Callable[..., T], *arguments: Any) -> T:
        """
        Call *work* in the loop of the control plane.
        """

        async def call() -> T:
            return work(*arguments)

        return self.run(call())

    @property
    def address(self) -> str:
        """
        Where its API is.
        """
        return f"127.0.0.1:{self.plane.ports['api']}"

    @property
    def key(self) -> str:
        """
        The key of its owner.
        """
        return self.directory.read_key()

    def add_user(self, nickname: str, *, preset: str = "FULL", team: str = "") -> str:
        """
        Make a user, and return a key of theirs.
        """

        def make(connection: Any) -> str:
            account = make_account(connection, "user", nickname)
            if team:
                make_account(connection, "team", team)
                add_member(connection, team, nickname)
            return make_key(connection, account.id, permissions_of(preset)).text

        return self.run(self.plane.store.write(make))

    def call(self, name: str, request: Any, *, key: str | None = None) -> Any:
        """
        Call a procedure that answers with one message, in plain text.
        """
        with grpc.insecure_channel(self.address) as channel:
            answer = getattr(IsolateControllerStub(channel), name)
            return answer(request, metadata=to_metadata(key or self.key), timeout=PATIENCE)

    def client(self, key: str | None = None) -> httpx.Client:
        """
        Return a client of its HTTP side, in plain text.
        """
        return httpx.Client(
            base_url=f"http://{self.address}",
            headers={"Authorization": f"Key {key or self.key}"},
            timeout=PATIENCE,
            trust_env=False,
        )

    def close(self) -> None:
        """
        End it.
        """
        self.run(self.plane.close())
        self._stop_loop()

    async def _start(self) -> ControlPlane:
        plane = ControlPlane.create(self.settings)
        await plane.start()
        return plane

    def _stop_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def to_metadata(key: str) -> tuple[tuple[str, str], ...]:
    """
    Return *key* as gRPC shows it.
    """
    id, _, secret = key.partition(":")
    return (("auth-key-id", id), ("auth-key", secret))


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """
    A control plane that the tests of a module share.
    """
    running = Plane(tmp_path_factory.mktemp("plane"))
    yield running
    running.close()


@pytest.fixture
def make_plane(tmp_path: Path) -> Iterator[Callable[..., Plane]]:
    """
    Start control planes on one data directory; the test ends them, or its end does.
    """
    started: list[Plane] = []

    def start(**settings: Any) -> Plane:
        started.append(Plane(tmp_path / "data", **settings))
        return started[-1]

    yield start
    for each in started:
        if not each._loop.is_closed():
            each.close()


class Program:
    """
    ``fal-core server start`` in a process of its own.
    """

    def __init__(self, data: Path, *arguments: str) -> None:
        self.data = data
        self.errors = data.parent / f"{data.name}.err"
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [*FAL_CORE, "server", "start", "--data", str(data), "--port", "0", *arguments],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self.lines: list[str] = []

    def wait_until_ready(self) -> Mapping[str, str]:
        """
        Return the variables that it prints once it runs.
        """
        assert self.process.stdout is not None
        variables = {}
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith("export "):
                name, _, value = line.removeprefix("export ").strip().partition("=")
                variables[name] = value
            if line.startswith("# Ready"):
                return variables
        raise AssertionError(f"It ended with {self.end()}: {self.errors.read_text()}")

    def end(self, number: int = signal.SIGTERM) -> int:
        """
        Send a signal, and return the exit code.
        """
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        assert self.process.stdout is not None
        self.lines.extend(self.process.stdout)
        self.process.stdout.close()
        return code


FAL_CORE = (sys.executable, "-m", "fal_core.cli")


@pytest.fixture(scope="session")
def launch_program() -> type[Program]:
    """
    Return what starts the program, for a test that ends it itself.
    """
    return Program


@pytest.fixture
def start_program(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """
    Start ``fal-core server start`` on a directory of the test.
    """
    started: list[Program] = []

    def start(*arguments: str, data: str = "data") -> Program:
        started.append(Program(tmp_path / data, *arguments))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None or not each.process.stdout.closed:
            each.end(signal.SIGKILL)


class Clients:
    """
    The released SDK, command line and fal_client, in an environment of their own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fal(self, *arguments: str, variables: Mapping[str, str], check: bool = True) -> str:
        """
        Run the command line, and return what it prints.
        """
        return self._run([str(self.folder / "bin" / "fal"), *arguments], variables, check)

    def python(self, code: str, *, variables: Mapping[str, str]) -> Any:
        """
        Run *code*, and return what its last line prints as JSON.
        """
        command = [str(self.folder / "bin" / "python"), "-c", code]
        return json.loads(self._run(command, variables, check=True).splitlines()[-1])

    def _run(self, command: list[str], variables: Mapping[str, str], check: bool) -> str:
        home = self.folder / "home"
        done = subprocess.run(
            command,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(home),
                "FAL_HOME_DIR": str(home / ".fal"),
                "COLUMNS": "200",
                **variables,
            },
            capture_output=True,
            text=True,
            timeout=3 * PATIENCE,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="session", params=["newest", "1.79.1"])
def clients(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Clients:
    """
    The released clients, at the newest version and at the oldest that is supported.
    """
    folder = tmp_path_factory.mktemp("clients") / "environment"
    version = "" if request.param == "newest" else f"=={request.param}"
    wanted = [f"fal{version}", "fal-client"]
    uv = shutil.which(
        "uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    python = str(folder / "bin" / "python")
    if uv is None:
        make = [sys.executable, "-m", "venv", str(folder)]
        install = [python, "-m", "pip", "install", "--quiet", *wanted]
    else:
        make = [uv, "venv", "--quiet", "--python", sys.executable, str(folder)]
        install = [uv, "pip", "install", "--quiet", "--python", python, *wanted]
    for command in (make, install):
        done = subprocess.run(command, capture_output=True, text=True, timeout=900)
        if done.returncode:
            pytest.skip(f"{wanted} cannot be installed: {done.stderr.strip()[-500:]}")
    (folder / "home").mkdir()
    return Clients(folder)


def end_runners(data: Path) -> None:
    """
    End the runners that outlive the server of *data*, and wait until they are gone.
    """
    with sqlite3.connect(data / "state.db") as connection:
        found = connection.execute("select reference from runners").fetchall()
    references = {reference for (reference,) in found}
    host = LocalHost()
    running = [
        each.reference
        for each in host.executions()
        if each.reference in references and not each.ended
    ]
    ended = [threading.Event() for _ in running]
    for reference, event in zip(running, ended, strict=True):

        def take(happened: Any, event: threading.Event = event) -> None:
            if isinstance(happened, Exited):
                event.set()

        host.attach(reference, take).cancel(0)
    for event in ended:
        assert event.wait(PATIENCE)
    host.close()


class Applied:
    """
    A server that the released clients run and deploy on.
    """

    def __init__(self, data: Path, launch: Callable[..., Program], clients: Clients) -> None:
        self.data = data
        self.clients = clients
        self._launch = launch
        self.start()

    def start(self) -> None:
        """
        Start the server, once more where it has ended.
        """
        ports = [] if not hasattr(self, "variables") else ["--port", self._port()]
        self.program = self._launch(self.data, "--webhook-network", "127.0.0.0/8", *ports)
        variables = dict(self.program.wait_until_ready())
        self.variables = variables | {"FAL_KEY": DataDirectory(self.data).read_key()}

    def fal(self, *arguments: str, check: bool = True) -> str:
        """
        Run the command line.
        """
        return self.clients.fal(*arguments, variables=self.variables, check=check)

    def python(self, code: str) -> Any:
        """
        Run *code* of a client, and return the JSON of the last line it prints.
        """
        file = self.data.parent / f"client{secrets.token_hex(4)}.py"
        file.write_text(textwrap.dedent(code))
        source = f"import runpy; runpy.run_path({str(file)!r}, run_name='__main__')"
        lines = self.clients._run(
            [str(self.clients.folder / "bin" / "python"), "-c", source],
            self.variables,
            check=True,
        ).splitlines()
        told = [line for line in lines if line.startswith("JSON ")]
        return json.loads(told[-1].removeprefix("JSON "))

    def client(self, door: str = "FAL_RUN_HOST") -> httpx.Client:
        """
        Return an HTTP client of a gateway, with the key of the owner.
        """
        return httpx.Client(
            base_url=f"http://{self.variables[door]}",
            headers={"Authorization": f"Key {self.variables['FAL_KEY']}"},
            timeout=PATIENCE,
            trust_env=False,
        )

    def _port(self) -> str:
        return self.variables["FAL_GRPC_HOST"].rpartition(":")[2]


@pytest.fixture(scope="module")
def applied(
    tmp_path_factory: pytest.TempPathFactory, launch_program: Any, clients: Clients
) -> Iterator[Applied]:
    """
    A server for what runs, whose runners are ended with the module.
    """
    server = Applied(tmp_path_factory.mktemp("applied") / "data", launch_program, clients)
    yield server
    server.program.end()
    end_runners(server.data)
