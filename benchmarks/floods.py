"""Floods: calls with a key, while clients without one send what they may as fast as it goes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.figures import BEST, FAL_CORE, Contestant, Figure, Goal, Measure
from benchmarks.planes import control_plane
from benchmarks.services import end_session

_HERE = "benchmarks.floods:"

#: What sends a flood, as a program: the one of the tests.
_PROGRAM = Path(__file__).parent.parent / "plugins/fal-server/tests/floods.py"

#: The floods that it knows.
NAMES = (
    "continuations",
    "empty_continuations",
    "settings",
    "pings",
    "resets",
    "endless_streams",
    "closed_windows",
    "bombs",
    "large_frames",
    "empty_messages",
    "window_updates",
    "slow_calls",
    "wrong_keys",
)

ALL = "+".join(NAMES)

#: Seconds after which a call counts as not answered. That is what it shows then.
_LONGEST = 10.0

BARE = "grpc.aio, with one method"

#: A server that runs: its process, its port and the key of a client.
Target = tuple[int, int, tuple[tuple[str, str], ...]]


@contextmanager
def plane() -> Iterator[Target]:
    """Start a control plane."""
    with control_plane() as started:
        port = int(started.variables["FAL_GRPC_HOST"].rpartition(":")[2])
        key, _, secret = started.variables["FAL_KEY"].partition(":")
        yield started.pid, port, (("auth-key-id", key), ("auth-key", secret))


@contextmanager
def bare() -> Iterator[Target]:
    """Start a server of the library that most servers of gRPC in Python use."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.peers.bare_grpc"],
        stdout=subprocess.PIPE,
        # It writes thousands of lines.
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        port = int(process.stdout.readline())
        yield process.pid, port, (("auth-key-id", "key"), ("auth-key", "secret"))
    finally:
        end_session(process)
        process.stdout.close()


_SERVERS: dict[str, Callable[[], AbstractContextManager[Target]]] = {
    "plane": plane,
    "bare": bare,
}


@contextmanager
def slowest_call(server: str, names: str, seconds: float) -> Iterator[Measure]:
    """Measure the slowest call during floods, over an earlier connection or a new one."""
    with _SERVERS[server]() as (_, port, key), _connect(port) as lasting:
        _call(lasting, key)
        yield lambda: _flood(names, port, key, lasting, seconds)


@contextmanager
def memory(server: str, names: str, seconds: float) -> Iterator[Measure]:
    """Measure how many bytes of memory a server has taken at most more than before, in floods."""
    with _SERVERS[server]() as (pid, port, key), _connect(port) as lasting:
        _call(lasting, key)
        before = _peak_of(pid)

        def measure() -> float:
            _flood(names, port, key, lasting, seconds)
            return float(_peak_of(pid) - before)

        yield measure


def _flood(names: str, port: int, key: Any, lasting: Any, seconds: float) -> float:
    floods = [
        subprocess.Popen(
            [sys.executable, str(_PROGRAM), name, str(port), str(seconds)],
            stdout=subprocess.PIPE,
        )
        for name in names.split("+")
    ]
    slowest = 0.0
    while any(flood.poll() is None for flood in floods):
        slowest = max(slowest, _call(lasting, key))
        with _connect(port) as new:
            slowest = max(slowest, _call(new, key))
    for flood in floods:
        sent, _ = flood.communicate()
        if flood.returncode or not int(sent):
            raise RuntimeError("A flood has sent nothing.")
    return slowest


def _connect(port: int) -> Any:
    import grpc

    options = [("grpc.use_local_subchannel_pool", 1)]
    return grpc.insecure_channel(f"127.0.0.1:{port}", options)


def _call(channel: Any, key: Any) -> float:
    """Return how many seconds a call took."""
    import grpc

    method = "/controller.IsolateController/ListSecrets"
    began = perf_counter()
    try:
        channel.unary_unary(method)(b"", metadata=key, timeout=_LONGEST, wait_for_ready=True)
    except grpc.RpcError:
        return _LONGEST
    return perf_counter() - began


def _peak_of(pid: int) -> int:
    """Return the most bytes of memory that a process has had resident."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise RuntimeError(f"The system does not tell the memory of process {pid}.")


def _contestants(measure: str, names: str, seconds: float) -> tuple[Contestant, ...]:
    return (
        Contestant(
            name=FAL_CORE,
            target=f"{_HERE}{measure}",
            settings={"server": "plane", "names": names, "seconds": seconds},
            role="fal-core",
            needs=("fal_server", "fal_host_serverless", "hpack"),
            pinned=False,
        ),
        Contestant(
            name=BARE,
            target=f"{_HERE}{measure}",
            settings={"server": "bare", "names": names, "seconds": seconds},
            needs=("grpc", "hpack"),
            pinned=False,
        ),
    )


def figures(*, quick: bool) -> list[Figure]:
    """Return the figures of this theme."""
    seconds = 1.5 if quick else 3.0
    floods = {f"flood-{name.replace('_', '-')}": name for name in NAMES} | {"flood-all": ALL}
    return [
        *(
            Figure(
                name=figure,
                title=f"gRPC under a flood ({names.replace('+', ', ')}): the slowest call",
                unit="s",
                note=f"{_LONGEST:g} s is a call that was not answered",
                contestants=_contestants("slowest_call", names, seconds),
                goals=(Goal(plus=2.0),),
            )
            for figure, names in floods.items()
        ),
        Figure(
            name="flood-memory",
            title="gRPC under all floods at once: memory at most, over that before",
            unit="MiB",
            contestants=_contestants("memory", ALL, seconds),
            goals=(Goal(plus=200 << 20), Goal(against=BEST)),
        ),
    ]
