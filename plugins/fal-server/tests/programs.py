"""Programs: a server in a process of its own, and the released clients that use it."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import termios
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from click.testing import CliRunner
from isolate_proto.controller_pb2_grpc import IsolateControllerStub
from polling import PATIENCE

from fal_core.cli.program import cli
from fal_core_worker.serving import networks
from fal_core_worker.serving.ports import is_free
from fal_server.state.data_directories import DataDirectory

#: What measures which lines are run by all that a server starts.
_MEASURED = ("--variable", "COVERAGE_*")

FAL_CORE = (sys.executable, "-m", "fal_core.cli")

ROOT = Path(__file__).resolve().parents[3]

#: How many listeners a server has, each at the port after that of the one before.
_DOORS = 5

#: Ports that nothing else here is given: neither by the system nor by `free_port`.
_KEPT = range(12_000, 18_000, _DOORS)


def find_ports() -> str:
    """
    Return the first of as many consecutive free ports as a server has listeners.

    They stay free while a server that will be started at them again is down.
    """
    while True:
        first = secrets.choice(_KEPT)
        if all(is_free(port) for port in range(first, first + _DOORS)) and _keep(first):
            return str(first)


def _keep(first: int) -> bool:
    """Keep a row of ports from other processes of the tests, until this one ends."""
    with socket.socket(socket.AF_UNIX) as name:
        try:
            name.bind(f"\0fal-core-tests-{first}")
        except OSError:
            return False
        name.detach()
    return True


def connect(address: str, key: str) -> httpx.Client:
    """Return a client of a listener in plain text, which shows *key* unless that is empty."""
    return httpx.Client(
        base_url=f"http://{address}",
        headers={"Authorization": f"Key {key}"} if key else {},
        timeout=PATIENCE,
        trust_env=False,
        # Loading certificates, which nobody shows here, takes longer than most requests.
        verify=False,
    )


class Program:
    """
    ``fal-core server start`` in a process of its own.

    Arguments:
        python: What it runs on.
    """

    def __init__(
        self,
        data: Path,
        *arguments: str,
        variables: Mapping[str, str] | None = None,
        errors: Path | None = None,
        python: str = sys.executable,
    ) -> None:
        self.data = data
        self.errors = errors or data.parent / f"{data.name}.err"
        # Where there are no network namespaces, private applications are served nevertheless.
        opens = ("--allow-open-runners",) if networks.missing() else ()
        started = ("server", "start", *_MEASURED, *opens)
        with self.errors.open("w") as stream:
            self.process = subprocess.Popen(
                [
                    *(python, "-X", "faulthandler"),
                    *FAL_CORE[1:],
                    *started,
                    "--data",
                    str(data),
                    "--port",
                    "0",
                    *arguments,
                ],
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                env={**os.environ, **(variables or {})},
            )
        self.lines: list[str] = []

    def wait_until_ready(self) -> Mapping[str, str]:
        """Return the variables that it prints once it runs."""
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

    def unread(self) -> int:
        """Return how many bytes it has printed that were not read."""
        assert self.process.stdout is not None
        found = fcntl.ioctl(self.process.stdout, termios.FIONREAD, bytes(4))
        return int.from_bytes(found, sys.byteorder)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and return the exit code."""
        assert self.process.stdout is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired as error:
            # It tells then where it stands.
            self.process.send_signal(signal.SIGABRT)
            self.process.wait(PATIENCE)
            self.process.stdout.close()
            name = signal.Signals(number).name
            told = self.errors.read_text()
            raise AssertionError(f"It does not end by {name}: {told}") from error
        if not self.process.stdout.closed:
            self.lines.extend(self.process.stdout)
            self.process.stdout.close()
        return code


class Server:
    """
    A server in a process of its own, which stands in for the control plane of a test.

    Attributes:
        ports: The port of each listener.

        variables: What it tells clients, with the key of its owner.
    """

    def __init__(
        self, data: Path, *arguments: str, variables: Mapping[str, str] | None = None
    ) -> None:
        self.data = data
        self._arguments = arguments
        self._variables = variables
        self.start()

    def start(self) -> None:
        """Start it, once more where it has ended."""
        self.program = Program(self.data, *self._arguments, variables=self._variables)
        told = self.program.wait_until_ready()
        directory = DataDirectory(self.data)
        self.ports, self.key = directory.read_addresses()[1], directory.read_key()
        self.variables = {**told, "FAL_KEY": self.key}

    @property
    def plane(self) -> Server:
        """The object that has the ports, as a `Plane` has."""
        return self

    def call(self, name: str, request: Any) -> Any:
        """Call a procedure that answers with one message."""
        with grpc.insecure_channel(f"127.0.0.1:{self.ports['api']}") as channel:
            answer = getattr(IsolateControllerStub(channel), name)
            return answer(request, metadata=to_metadata(self.key), timeout=PATIENCE)

    def stream(self, name: str, request: Any, *, key: str | None = None) -> Iterator[Any]:
        """Call a procedure that answers with many messages."""
        with grpc.insecure_channel(f"127.0.0.1:{self.ports['api']}") as channel:
            answer = getattr(IsolateControllerStub(channel), name)
            yield from answer(request, metadata=to_metadata(key or self.key), timeout=PATIENCE)

    def client(self) -> httpx.Client:
        """Return a client of its HTTP side, with the key of its owner."""
        return connect(f"127.0.0.1:{self.ports['api']}", self.key)

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.program.end(signal.SIGKILL)

    def close(self) -> None:
        """End it as it is meant to be ended."""
        self.program.end()


def to_metadata(key: str) -> tuple[tuple[str, str], ...]:
    """Return *key* as gRPC shows it."""
    id, _, secret = key.partition(":")
    return (("auth-key-id", id), ("auth-key", secret))


class Clients:
    """
    The released SDK, command line and fal_client, in an environment of their own.

    Attributes:
        home: The home directory of whoever uses them.
    """

    def __init__(self, folder: Path, version: str, home: Path) -> None:
        self.folder = folder
        self.version = version
        self.home = home

    def fal(
        self,
        *arguments: str,
        variables: Mapping[str, str],
        check: bool = True,
        code: int = 0,
        directory: Path | None = None,
    ) -> str:
        """
        Run the command line, in *directory* if given, and return its output. Its exit code
        has to be *code*, unless that is not to be checked.
        """
        command = [str(self.folder / "bin" / "fal"), *arguments]
        return self._run(command, variables, check, directory, code)

    def python(self, code: str, *, variables: Mapping[str, str]) -> Any:
        """Run *code*, and return the JSON of the last line that it prints."""
        command = [str(self.folder / "bin" / "python"), "-c", code]
        return json.loads(self._run(command, variables, check=True).splitlines()[-1])

    def _run(
        self,
        command: list[str],
        variables: Mapping[str, str],
        check: bool,
        directory: Path | None = None,
        code: int = 0,
    ) -> str:
        done = subprocess.run(
            command,
            cwd=directory,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.home),
                "FAL_HOME_DIR": str(self.home / ".fal"),
                "COLUMNS": "200",
                **variables,
            },
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
        )
        assert not check or done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr


def install_clients(folder: Path, version: str, python: str = sys.executable) -> Clients:
    """
    Install the released clients of *version*, which may be ``newest``, in *folder*.

    The test is skipped if they cannot be downloaded.
    """
    wanted = ["fal" if version == "newest" else f"fal=={version}", "fal-client"]
    install(folder, wanted, python)
    (folder / "home").mkdir()
    return Clients(folder, version, folder / "home")


def share_clients(factory: pytest.TempPathFactory, version: str) -> Clients:
    """
    Return the released clients of *version*, with a home directory of this process. One of the
    processes that share the tests installs them: what they import is then compiled once.
    """
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / f"clients-{version}"
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # The paths in its programs are absolute, so that it is made where it stays.
        complete = folder / "complete"
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            install_clients(folder, version)
            complete.touch()
    return Clients(folder, version, factory.mktemp("home"))


def install_this(folder: Path, python: str) -> str:
    """
    Install this checkout in *folder*, for another Python, and return the executable.

    The test is skipped if the requirements cannot be downloaded.
    """
    names = ("host-local", "env-virtualenv", "serve", "host-serverless", "server")
    places = (ROOT, *(ROOT / "plugins" / f"fal-{name}" for name in names))
    return install(folder, [part for place in places for part in ("-e", str(place))], python)


def install(folder: Path, wanted: Sequence[str], python: str) -> str:
    """Make an environment of *python* with *wanted* installed, and return its executable."""
    uv = shutil.which(
        "uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    made = str(folder / "bin" / "python")
    if uv is None:
        make = [python, "-m", "venv", str(folder)]
        fill = [made, "-m", "pip", "install", "--quiet", *wanted]
    else:
        make = [uv, "venv", "--quiet", "--python", python, str(folder)]
        fill = [uv, "pip", "install", "--quiet", "--python", made, *wanted]
    for command in (make, fill):
        done = subprocess.run(command, capture_output=True, text=True, timeout=900)
        if done.returncode:
            # Where nobody looks, what was not tried would be taken for what works.
            tell = pytest.fail if os.environ.get("CI") else pytest.skip
            tell(f"{wanted} cannot be installed: {done.stderr.strip()[-500:]}")
    return made


#: Return the database of the server of a data directory, as the fixture `state_kind` wants it.
#: None for a file in there.
find_database: Callable[[Path], str] | None = None


def end_runners(
    data: Path, *, database: str | None = None, machines: Sequence[str] = ("local",)
) -> None:
    """End the runners that outlive the server of *data*, and wait until they are gone."""
    # Here, since most modules end with it, and another process would only import it anew.
    words = ["--data", str(data)]
    words += [word for each in machines for word in ("--machine", each)]
    if database is None and find_database is not None:
        database = find_database(data)
    if database is not None:
        words += ["--database", database]
    done = CliRunner().invoke(cli, ["server", "end-runners", *words])
    assert done.exit_code == 0, done.output


#: A function that asks a server who it is, by a host that stands in the code of released
#: clients.
ASK_BY_FOREIGN_HOST = """
def ask():
    import json, os, urllib.request

    shown = {"Authorization": "Key " + os.environ["FAL_KEY"]}
    request = urllib.request.Request("https://rest.fal.ai/users/current", headers=shown)
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)["nickname"]
"""


def read_told(printed: str) -> Any:
    """Return the JSON of the last line of what a program has printed that begins with ``JSON``."""
    told = [line for line in printed.splitlines() if line.startswith("JSON ")]
    return json.loads(told[-1].removeprefix("JSON "))


class Applied:
    """A server that the released clients run and deploy on."""

    def __init__(self, data: Path, launch: Callable[..., Program], clients: Clients) -> None:
        self.data = data
        self.clients = clients
        self._launch = launch
        self._port = find_ports()
        self.start()

    def start(self) -> None:
        """Start the server, once more where it has ended."""
        options = ("--webhook-network", "127.0.0.0/8", "--port", self._port)
        self.program = self._launch(self.data, *options)
        variables = dict(self.program.wait_until_ready())
        self.variables = variables | {"FAL_KEY": DataDirectory(self.data).read_key()}

    def fal(
        self,
        *arguments: str,
        check: bool = True,
        code: int = 0,
        directory: Path | None = None,
    ) -> str:
        """
        Run the command line, in *directory* if given, and return its output. Its exit code
        has to be *code*, unless that is not to be checked.
        """
        return self.clients.fal(
            *arguments, variables=self.variables, check=check, code=code, directory=directory
        )

    def python(self, code: str, directory: Path | None = None) -> Any:
        """Run *code*, and return the JSON of the last line that it prints."""
        return self.python_and_output(code, directory)[0]

    def python_and_output(self, code: str, directory: Path | None = None) -> tuple[Any, str]:
        """Run *code*, and return the JSON of the last line that it prints, and all that it does."""
        file = self.data.parent / f"client{secrets.token_hex(4)}.py"
        file.write_text(textwrap.dedent(code))
        source = f"import runpy; runpy.run_path({str(file)!r}, run_name='__main__')"
        printed = self.clients._run(
            [str(self.clients.folder / "bin" / "python"), "-c", source],
            self.variables,
            check=True,
            directory=directory,
        )
        return read_told(printed), printed

    def client(self, listener: str = "FAL_RUN_HOST") -> httpx.Client:
        """Return an HTTP client of a gateway, with the key of the owner."""
        return connect(self.variables[listener], self.variables["FAL_KEY"])
