"""
A real cluster of Ray on this machine, for tests: nodes with addresses of their own.

Each node has a process namespace, so that it ends as a whole, as a machine does. A cluster is
shared by all processes of a test run, and ends once none of them uses it any more.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs

from fal_core.errors import HostError

#: Seconds that a node may take to start.
_PATIENCE = 180.0
#: How often one is started that does not come up: Ray itself waits 30 seconds for its parts,
#: which a busy machine may need longer for.
_TRIES = 3
#: The process 1 of a node: it starts Ray, says so, and takes the exit codes of what is left.
_FIRST = '"$@" >&2 </dev/null || exit 1; echo up; while sleep 1000; do :; done'
#: Two nodes, more of which processors the functions of tests do not use. The devices are none.
TWO_NODES = (
    ("--num-cpus=40", "--num-gpus=2"),
    ("--num-cpus=40", "--num-gpus=2", "--labels=ray.io/accelerator-type=H100"),
)


def find_ray() -> str | None:
    """
    Return a Python that has Ray: that of ``FAL_RAY_PYTHON``, or else this one; None if neither
    has it.
    """
    named = os.environ.get("FAL_RAY_PYTHON")
    if named and os.access(named, os.X_OK):
        return named
    return sys.executable if importlib.util.find_spec("ray") else None


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

        starts: What ``ray start`` is told of them, by their addresses.

        cache: The cache of what runs on them.
    """

    address: str
    client: str
    python: str
    variables: Mapping[str, str]
    nodes: Mapping[str, int]
    starts: Mapping[str, Sequence[str]]
    cache: str

    def kill_node(self, address: str) -> None:
        """End a node with all its processes, as a power failure does."""
        with suppress(ProcessLookupError):
            os.kill(self.nodes[address], 9)

    @contextmanager
    def start_node(self, address: str) -> Iterator[None]:
        """
        Start a node that was killed again, and end it afterwards. Where it is the head, it
        knows nothing of the cluster that it was the head of.

        Raises:
            HostError: It does not start.
        """
        settings = {**os.environ, **self.variables, **_settings(Path(self.cache))}
        node = _bring_up(self.python, address, self.starts[address], settings)
        try:
            yield
        finally:
            node.kill()
            node.wait()


@contextmanager
def shared_cluster(
    python: str, folder: Path, *, nodes: Sequence[Sequence[str]] = TWO_NODES
) -> Iterator[Cluster]:
    """
    Have a cluster that all processes share which name this *folder*.

    Arguments:
        python: The path of a Python that has Ray.

        folder: An empty folder at first, for what Ray and its nodes write.

        nodes: What else ``ray start`` is told of each node, of which the first is the head.

    Raises:
        HostError: It cannot be started.
    """
    state = folder / "cluster.json"
    starting, users = _enter(folder)
    try:
        if not state.exists():
            _start_owner(python, folder, nodes)
        os.close(starting)
        starting = -1
        yield Cluster(**json.loads(state.read_text()))
    finally:
        os.close(users)
        if starting >= 0:
            os.close(starting)


def _enter(folder: Path) -> tuple[int, int]:
    """Return two locks, as descriptors: one for starting a cluster, and one for its users."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        opened = []
        try:
            for name, kind in (("starting", fcntl.LOCK_EX), ("users", fcntl.LOCK_SH)):
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
                opened.append(os.open(folder / name, flags, 0o600))
                fcntl.flock(opened[-1], kind)
            # The owner of an earlier cluster removes them as it ends.
            if os.stat(folder / "users").st_ino == os.fstat(opened[1]).st_ino:
                return opened[0], opened[1]
        except FileNotFoundError:
            pass
        for descriptor in opened:
            os.close(descriptor)


def _start_owner(python: str, folder: Path, nodes: Sequence[Sequence[str]]) -> None:
    """Start the process that has the cluster as its child, and ends it."""
    command = [sys.executable, "-m", __name__, python, str(folder), json.dumps(nodes)]
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


def _own(python: str, folder: Path, told: Sequence[Sequence[str]]) -> None:
    """Start a cluster, and end it once nobody uses it."""
    nodes: dict[str, subprocess.Popen[bytes]] = {}
    starts: dict[str, Sequence[str]] = {}
    state = folder / "cluster.json"
    # Nobody else has these, even if other clusters run.
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
        starts[head] = [*first, *told[0]]
        for number, arguments in enumerate(told[1:], 2):
            starts[f"{network}.{number}"] = [f"--address={head}:{port}", *arguments]
        for address, arguments in starts.items():
            # Two that start at once would choose the same sockets.
            nodes[address] = _bring_up(python, address, arguments, settings)
        cluster = Cluster(
            address=f"{head}:{port}",
            client=f"ray://{head}:{client}",
            python=python,
            variables=variables,
            nodes={address: node.pid for address, node in nodes.items()},
            starts=starts,
            cache=str(cache),
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
        for node in nodes.values():
            node.kill()
        for node in nodes.values():
            node.wait()
        if state.exists():
            shutil.rmtree(folder, ignore_errors=True)


def _settings(cache: Path) -> dict[str, str]:
    return {
        "FAL_CORE_CACHE": str(cache),
        "RAY_USAGE_STATS_ENABLED": "0",
        # It would end workers for what else this machine does.
        "RAY_memory_monitor_refresh_ms": "0",
        # What it runs is not to wait for other tests.
        "RAY_worker_niceness": "0",
        "PYTHONWARNINGS": "ignore",
    }


def _bring_up(
    python: str, address: str, arguments: Sequence[str], settings: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """
    Return a node once it is up.

    Raises:
        HostError: It does not start.
    """
    for _ in range(_TRIES):
        node = _start_node(python, address, arguments, settings)
        if _is_up(node):
            return node
        node.kill()
        node.wait()
    raise HostError(f"The node {address} did not start, tried {_TRIES} times.")


def _start_node(
    python: str, address: str, arguments: Sequence[str], settings: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    apart = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.getuid() != 0:
        apart += ["--user", "--map-root-user"]
    ray = os.path.join(os.path.dirname(python), "ray")
    start = [ray, "start", f"--node-ip-address={address}", *arguments]
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


def _is_up(node: subprocess.Popen[bytes]) -> bool:
    assert node.stdout is not None
    timer = threading.Timer(_PATIENCE, node.kill)
    timer.start()
    with node.stdout:
        answer = node.stdout.readline()
    timer.cancel()
    return answer == b"up\n"


def _free_port() -> int:
    import socket

    with socket.create_server(("", 0)) as server:
        return int(server.getsockname()[1])


if __name__ == "__main__":
    _own(sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3]))
