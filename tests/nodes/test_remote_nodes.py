"""Environments that are built on other machines, and workers that are started there."""

from __future__ import annotations

import base64
import io
import json
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest

from fal_core import function
from fal_core.errors import HostError, WorkerLost
from fal_core.hosts import Capabilities
from fal_core.nodes import RemoteNode, agent_addresses, node_agents, node_arguments, node_facts
from fal_core.nodes.node_workers import _unpack
from fal_core.pools import POOL_OPTIONS, Start, WorkerHost
from fal_core.workers import Worker
from fal_testing.harness.processes import is_alive, wait_until
from fal_testing.harness.recorders import Recorder

#: Seconds until something counts as missing.
PATIENCE = 60.0


@attrs.define(eq=False, slots=False)
class NodeHost(WorkerHost[..., Any]):
    """Builds and runs on one node."""

    name: ClassVar[str] = "node"
    capabilities: ClassVar[Capabilities] = Capabilities.of_workers(
        kinds=None, concurrency=4, keep_alive=True, options=POOL_OPTIONS
    )

    node: RemoteNode

    def begin(self, start: Start) -> Worker:
        return self.node.begin(start)

    def close(self) -> None:
        super().close()
        self.node.close()


def run_here(arguments: Sequence[str]) -> Sequence[str]:
    return (sys.executable, *arguments)


@pytest.fixture(params=["local", "address", "command"])
def host(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[NodeHost]:
    """A host whose node is this machine: reached as itself, by its address, or by a command."""
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "cache"))
    if request.param != "local":
        monkeypatch.setattr(agent_addresses, "connect_locally", lambda name: None)
    address = "127.0.0.1" if request.param == "address" else None
    host = NodeHost(RemoteNode(run_here, name="far", address=address))
    yield host
    host.close()


def stay() -> None:
    import os
    import time

    print(f"at {os.getpid()}")
    time.sleep(600)


def measure(data: bytes) -> tuple[int, int]:
    import os

    return len(data), os.getppid()


def test_functions_run_on_a_node(host: NodeHost, tmp_path: Path) -> None:
    """
    A node is given the code once, and workers are started there, which take calls one after
    the other. A call that is cancelled and the end of the host end what runs there.
    """
    measured = function("current", host=host)(measure)
    first, second = measured(b"x" * (1 << 20)), measured(b"")
    assert (first[0], second[0]) == (1 << 20, 0)
    assert first[1] == second[1]
    [code] = (tmp_path / "cache" / "nodes" / "code").iterdir()
    assert (code / "fal_core" / "nodes" / "agent.py").exists()

    staying = function("current", host=host, keep_alive=0)(stay)
    for end in ("cancel", "close"):
        recorder = Recorder(staying.make_launcher())
        recorder.launch()
        pid = int(recorder.wait_for_line_like("at ", PATIENCE).message.split()[1])
        if end == "cancel":
            recorder.cancel(0.1)
        else:
            host.close()
        assert isinstance(recorder.wait(PATIENCE).reason, HostError)
        assert wait_until(lambda pid=pid: not is_alive(pid), PATIENCE)


def test_a_node_whose_command_fails_says_why() -> None:
    """
    The error of a command that runs no Python has what it printed; one that is not there is
    named.
    """

    def fail(arguments: Sequence[str]) -> Sequence[str]:
        return ("sh", "-c", "echo no such machine >&2; exit 3")

    for command, error, told in (
        (fail, WorkerLost, "node far has ended: no such machine"),
        (lambda arguments: ("/no/such/program",), HostError, "'/no/such/program' cannot be"),
    ):
        host = NodeHost(RemoteNode(command, name="far"))
        with pytest.raises(error, match=told):
            function("current", host=host)(measure)(b"")
        host.close()


def test_a_python_that_is_too_old_is_refused(tmp_path: Path) -> None:
    """The first program on a node says which Python it has found, and takes no code."""
    told = {**node_facts("0" * 32, "none"), "oldest": [99, 0]}
    done = subprocess.run(
        [sys.executable, *node_arguments()],
        input=repr(told).replace("'", '"') + "\n",
        env={"FAL_CORE_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 1
    assert "and 99.0 is needed." in done.stderr
    assert not list(tmp_path.iterdir())


def test_code_that_comes_twice_is_read_twice(tmp_path: Path) -> None:
    """
    A program that has asked for the code takes it from its input, even where another one of
    the machine has been quicker: what follows is for the agent.
    """
    module = "import sys\n\ndef main(told):\n    print('left', sys.stdin.read())\n"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("arrived.py", module)
    code = archive.getvalue()
    program = subprocess.Popen(
        [sys.executable, *node_arguments()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"FAL_CORE_CACHE": str(tmp_path)},
    )
    with program:
        assert program.stdin is not None
        assert program.stdout is not None
        told = node_facts("0" * 32, "arrived")
        program.stdin.write(json.dumps(told).encode() + b"\n")
        program.stdin.flush()
        assert json.loads(program.stdout.readline()) == {"has": False}
        folder = tmp_path / "nodes" / "code" / ("0" * 32)
        folder.mkdir()
        (folder / "arrived.py").write_text(module)
        program.stdin.write(json.dumps({"size": len(code)}).encode() + b"\n" + code + b"ours")
        program.stdin.close()
        assert program.stdout.read() == b"left ours\n"


class Trap:
    """Makes a folder as it is opened."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


def test_what_an_agent_tells_is_not_run(tmp_path: Path) -> None:
    """An error that comes from a node is read as data: a pickle is none."""
    trap = tmp_path / "sprung"
    told = base64.b64encode(pickle.dumps(Trap(str(trap)))).decode()
    assert "cannot be read" in str(_unpack(told))
    assert "cannot be read" in str(_unpack("no base 64"))
    assert not trap.exists()


def test_an_agent_ends_with_its_program(tmp_path: Path) -> None:
    """Where the program is gone that has started an agent, nobody listens there any more."""
    program = (
        "import os, sys, threading\n"
        "from fal_core.environments import CurrentEnvironment\n"
        "from fal_core.nodes.remote_nodes import RemoteNode\n"
        "node = RemoteNode(lambda words: (sys.executable, *words), name='far')\n"
        "agent = node._find_agent(CurrentEnvironment())\n"
        "print(agent.await_facts(threading.Event())['port'], flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "FAL_CORE_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    port = int(done.stdout)

    def is_closed() -> bool:
        with socket.socket() as connection:
            return connection.connect_ex(("127.0.0.1", port)) != 0

    assert wait_until(is_closed, PATIENCE)


def host_of(program: str) -> NodeHost:
    """Return a host whose node is a program of the shell."""
    return NodeHost(RemoteNode(lambda arguments: ("sh", "-c", program), name="far"))


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("", "it did not answer within 0.5 s"),
        ("echo '{\"has\": false}'", "it took nothing for 0.5 s"),
        ("echo Welcome", "it answered 'Welcome"),
        ("echo '[1]'", "it answered '.1"),
        ("echo '{\"has\": 1}'", "it answered '..has"),
        ('echo \'{"has": true}\'; echo \'{"port": "x"}\'', "it answered '..port"),
    ],
)
def test_an_agent_that_does_not_come_up_is_ended(
    program: str,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    What is no answer, and what does not answer or read in time, is ended with all that it has
    started. The call fails and says so, and its host can be closed.
    """
    monkeypatch.setattr(node_agents, "_ANSWER", 0.5)
    monkeypatch.setattr(node_agents, "PATIENCE", 0.5)
    host = host_of(f"sleep 600 & echo $! > {tmp_path}/pid\n{program}\nwait")
    with pytest.raises(HostError, match=told):
        function("current", host=host)(os.getpid)()
    host.close()
    pid = int((tmp_path / "pid").read_text())
    assert wait_until(lambda: not is_alive(pid), PATIENCE)


def test_a_host_is_closed_while_a_node_reads_nothing() -> None:
    """A node that takes none of its code holds up nobody who closes the host."""
    host = host_of("echo '{\"has\": false}'; read -r line; exec sleep 600")
    caught: list[BaseException] = []

    def call() -> None:
        try:
            function("current", host=host)(os.getpid)()
        except HostError as error:
            caught.append(error)

    calling = threading.Thread(target=call)
    calling.start()
    assert wait_until(lambda: bool(host.node._agents), PATIENCE)
    [agent] = host.node._agents.values()
    assert wait_until(agent._writing.locked, PATIENCE)
    began = time.monotonic()
    agent.begin_end()
    agent.await_end(0.5)
    host.close()
    calling.join(PATIENCE)
    assert caught
    assert time.monotonic() - began < node_agents.PATIENCE / 2


#: An agent that tells those who come what it was given.
AGENT = """
import json, socket, sys, threading
listener = socket.create_server(("127.0.0.1", 0))
print(json.dumps({"has": True}))
print(json.dumps({"port": listener.getsockname()[1], "local_name": ""}), flush=True)
def serve():
    while True:
        connection, _ = listener.accept()
        for line in json.loads(sys.argv[1]):
            connection.sendall(line.encode() + b"\\n")
        kept.append(connection)
kept = []
threading.Thread(target=serve, daemon=True).start()
sys.stdin.read()
"""


@pytest.mark.parametrize(
    "lines",
    [
        ["5"],
        ["["],
        ["[" * 100_000],
        ['{"built": 5}'],
        ['{"unknown": 5}'],
        ['{"event": "AAAA"}'],
        ['{"event": 5}'],
        ['{"exited": "1"}'],
        ['{"built": "3.12", "inherits": 1}'],
    ],
)
def test_what_an_agent_must_not_tell_ends_the_call(lines: list[str]) -> None:
    """A line of the wrong form is an error of the host, which says that it cannot be read."""

    def run(arguments: Sequence[str]) -> Sequence[str]:
        return (sys.executable, "-c", AGENT, json.dumps(lines))

    host = NodeHost(RemoteNode(run, name="far", address="127.0.0.1"))
    with pytest.raises(HostError, match="told what cannot be read"):
        function("current", host=host)(os.getpid)()
    host.close()
