"""
A real cluster of Ray on this machine, for tests: nodes with addresses of their own.

Each node has a process namespace, so that it ends as a whole, as a machine does. A cluster is
shared by all processes of a test run, and ends once none of them uses it any more.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs

from fal_core.errors import HostError

#: Seconds that a node may take to start.
_PATIENCE = 180.0
#: The process 1 of a node: it starts Ray, says so, and takes the exit codes of what is left.
_FIRST = '"$@" >&2 </dev/null || exit 1; echo up; while sleep 1000; do :; done'
#: The variables of Ray that nodes and programs share.
_VARIABLES = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")


@attrs.frozen(kw_only=True)
class Cluster:
    """
    A running cluster.

    Attributes:
        address: The address of its head, as ``RayHost`` takes it.

        client: Its address for Ray's client, as in ``ray://127.0.0.2:10001``.

        python: The Python that runs it.

        variables: Those that a program needs to reach it.

        nodes: The ids of the processes that its nodes end with, the head's first, by their
            addresses.
    """

    address: str
    client: str
    python: str
    variables: Mapping[str, str]
    nodes: Mapping[str, int]

    def kill_node(self, address: str) -> None:
        """
        End a node with all its processes, as a power failure does.
        """
        with suppress(ProcessLookupError):
            os.kill(self.nodes[address], 9)


@contextmanager
def shared_cluster(
    python: str, folder: Path, *, gpus: Sequence[int] = (2, 2)
) -> Iterator[Cluster]:
    """
    Have a cluster that all processes share which name this *folder*.

    Arguments:
        python: The path of a Python that has Ray.

        folder: An empty folder at first, for what Ray and its nodes write.

        gpus: How many GPUs each node says that it has. Those of the second node and further
            ones have the model H100.

    Raises:
        HostError: It cannot be started.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = folder / "cluster.json"
    users = os.open(folder / "users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    starting = os.open(folder / "starting", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(starting, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_SH)
        if not state.exists():
            _start_owner(python, folder, gpus)
        os.close(starting)
        starting = -1
        yield Cluster(**json.loads(state.read_text()))
    finally:
        os.close(users)
        if starting >= 0:
            os.close(starting)


def _start_owner(python: str, folder: Path, gpus: Sequence[int]) -> None:
    """
    Start the process that has the cluster as its child, and ends it.
    """
    command = [
        sys.executable,
        "-m",
        "fal_host_ray.testing",
        python,
        str(folder),
        *map(str, gpus),
    ]
    with open(folder / "owner.log", "wb") as log:
        owner = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    assert owner.stdout is not None
    with owner.stdout:
        answer = owner.stdout.readline()
    if answer != b"up\n":
        owner.wait()
        said = (folder / "owner.log").read_text(errors="replace").strip()[-2000:]
        raise HostError(f"The cluster did not start: {said or 'it said nothing'}")
    # It waits for the lock that this process holds, and is nobody's child by then.
    owner.returncode = 0


def _own(python: str, folder: Path, gpus: Sequence[int]) -> None:
    """
    Start a cluster, and end it once nobody uses it.
    """
    nodes: dict[str, subprocess.Popen[bytes]] = {}
    state = folder / "cluster.json"
    # Nobody else has these, whatever runs beside.
    network = f"127.{50 + secrets.randbelow(200)}.{secrets.randbelow(256)}"
    variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    try:
        head, port, client = f"{network}.1", _free_port(), _free_port()
        cache = folder / "cache"
        settings = {**os.environ, **variables, **_settings(cache)}
        # Sockets have short paths.
        temporary = folder / "r"
        first = ["--head", f"--port={port}", f"--ray-client-server-port={client}"]
        first += ["--include-dashboard=false", f"--temp-dir={temporary}"]
        nodes[head] = _start_node(python, head, [*first, f"--num-gpus={gpus[0]}"], settings)
        _await_node(nodes[head])
        for number, count in enumerate(gpus[1:], 2):
            address = f"{network}.{number}"
            more = [f"--address={head}:{port}", f"--num-gpus={count}"]
            more += ["--labels", "ray.io/accelerator-type=H100"]
            nodes[address] = _start_node(python, address, more, settings)
        for node in nodes.values():
            if node is not nodes[head]:
                _await_node(node)
        cluster = Cluster(
            address=f"{head}:{port}",
            client=f"ray://{head}:{client}",
            python=python,
            variables=variables,
            nodes={address: node.pid for address, node in nodes.items()},
        )
        new = state.with_suffix(".new")
        new.write_text(json.dumps(attrs.asdict(cluster)))
        os.replace(new, state)
        print("up", flush=True)
        users = os.open(folder / "users", os.O_RDWR)
        fcntl.flock(users, fcntl.LOCK_EX)
        starting = os.open(folder / "starting", os.O_RDWR)
        fcntl.flock(starting, fcntl.LOCK_EX)
    finally:
        state.unlink(missing_ok=True)
        for node in nodes.values():
            node.kill()
        for node in nodes.values():
            node.wait()


def _settings(cache: Path) -> dict[str, str]:
    return {
        "FAL_CORE_CACHE": str(cache),
        "RAY_USAGE_STATS_ENABLED": "0",
        # It would end workers for what else this machine does.
        "RAY_memory_monitor_refresh_ms": "0",
        "PYTHONWARNINGS": "ignore",
    }


def _start_node(
    python: str, address: str, arguments: Sequence[str], settings: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    apart = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.getuid() != 0:
        apart += ["--user", "--map-root-user"]
    ray = os.path.join(os.path.dirname(python), "ray")
    start = [ray, "start", f"--node-ip-address={address}", "--num-cpus=40", *arguments]
    start += ["--object-store-memory=1000000000", "--disable-usage-stats"]
    start += ["--min-worker-port=0", "--max-worker-port=0"]
    return subprocess.Popen(
        [*apart, "bash", "-c", _FIRST, "node", *start],
        env=settings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=None,
        start_new_session=True,
    )


def _await_node(node: subprocess.Popen[bytes]) -> None:
    assert node.stdout is not None
    with node.stdout:
        if node.stdout.readline() != b"up\n":
            raise SystemExit("A node did not start.")


def _free_port() -> int:
    import socket

    with socket.create_server(("", 0)) as server:
        return int(server.getsockname()[1])


if __name__ == "__main__":
    _own(sys.argv[1], Path(sys.argv[2]), [int(each) for each in sys.argv[3:]])
