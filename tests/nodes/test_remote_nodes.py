"""
Environments that are built on other machines, and workers that are started there.
"""

from __future__ import annotations

import base64
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest

from fal_core import function
from fal_core.errors import HostError, WorkerLost
from fal_core.hosts import Capabilities
from fal_core.nodes import RemoteNode, agent_addresses, node_arguments, node_facts
from fal_core.nodes.node_workers import _unpack
from fal_core.pools import POOL_OPTIONS, Start, WorkerHost
from fal_core.testing.harness.processes import is_alive, wait_until
from fal_core.testing.harness.recorders import Recorder
from fal_core.workers import Worker

#: Seconds until something counts as missing.
PATIENCE = 60.0


@attrs.define(eq=False, slots=False)
class NodeHost(WorkerHost[..., Any]):
    """
    Builds and runs on one node.
    """

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
    """
    A host whose node is this machine: reached as itself, by its address, or by a command.
    """
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
    """
    The first program on a node says which Python it has found, and takes no code.
    """
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


class Trap:
    """
    Makes a folder as it is opened.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


def test_what_an_agent_tells_is_not_run(tmp_path: Path) -> None:
    """
    An error that comes from a node is read as data: a pickle is none.
    """
    trap = tmp_path / "sprung"
    told = base64.b64encode(pickle.dumps(Trap(str(trap)))).decode()
    assert "cannot be read" in str(_unpack(told))
    assert "cannot be read" in str(_unpack("no base 64"))
    assert not trap.exists()


def test_an_agent_ends_with_its_program(tmp_path: Path) -> None:
    """
    Where the program is gone that has started an agent, nobody listens there any more.
    """
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
