"""
Start a cluster on this machine: two nodes of Ray, a PostgreSQL, and two servers on it.

The application of the README is deployed to it with the released fal, and called with
fal_client while a node and a server are killed. With ``--stay`` it waits for Ctrl-C then.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import postgresql_servers
from programs import Clients, Server, install_clients

from cluster.applications import read_application
from cluster.rays import prepare_ray, runs_workers
from fal_core.errors import FalCoreError
from fal_host_ray.testing import Cluster, shared_cluster

#: Nodes beside the head, which has no room for runners: each may have one.
_NODES = (("--num-cpus=0",), ("--num-cpus=8",), ("--num-cpus=8",))

#: What the program does that calls the application, without end.
_CALLS = """
import sys, time
import fal_client
number = 0
while True:
    number += 1
    text = f"{number} words " * number
    begun = time.monotonic()
    answer = fal_client.subscribe("owner/reader/count", {"text": text})
    took = time.monotonic() - begun
    assert answer["words"] == 2 * number, answer
    print(f"{number} {took:.3f}", flush=True)
    time.sleep(0.05)
"""


def main(arguments: list[str]) -> int:
    """Start it, and return the exit code: 1 where a request was not answered."""
    parser = argparse.ArgumentParser(prog="cluster", description=__doc__)
    parser.add_argument("--stay", action="store_true", help="Wait for Ctrl-C at the end.")
    parser.add_argument(
        "--calls", type=int, default=40, help="How many calls are answered after each loss."
    )
    options = parser.parse_args(arguments)
    # What was started is ended then too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if why := postgresql_servers.missing():
        print(f"This needs PostgreSQL: {why}.", file=sys.stderr)
        return 2
    try:
        with tempfile.TemporaryDirectory(prefix="c-") as name, contextlib.ExitStack() as stack:
            return _show(stack, Path(name), options)
    except FalCoreError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _show(stack: contextlib.ExitStack, folder: Path, options: argparse.Namespace) -> int:
    with _telling("Ray, with a head and two nodes"):
        python = prepare_ray()
        cluster = stack.enter_context(shared_cluster(python, folder / "r", nodes=_NODES))
    with _telling("PostgreSQL"):
        database = postgresql_servers.PostgreSQL()
        stack.callback(database.close)
        url = database.make_empty()
    with _telling("two servers"):
        servers = _start_servers(stack, folder, cluster, python, url)
    with _telling("the released clients"):
        clients = install_clients(folder / "clients", "newest")
    variables = servers[1].variables
    with _telling("the application of the README, deployed with fal"):
        (folder / "app.py").write_text(read_application())
        place = f"{folder / 'app.py'}::Reader"
        words = ["deploy", place, "--app-name", "reader", "--auth", "private"]
        clients.fal(*words, variables=variables)
    with _calling(clients, variables) as calls:
        calls.wait_for(options.calls, "both servers and all nodes are there")
        _kill_node(cluster)
        calls.wait_for(options.calls, "the node of its runner was killed")
        servers[0].kill()
        calls.wait_for(options.calls, "the server that decided was killed")
        servers[0].start()
        calls.wait_for(options.calls, "that server is there again")
        failed = calls.process.poll() is not None
    if not failed and options.stay:
        _stay(servers)
    return int(failed)


def _start_servers(
    stack: contextlib.ExitStack, folder: Path, cluster: Cluster, python: str, url: str
) -> list[Server]:
    """Start two servers, of which the first decides."""
    told = {**cluster.variables, "FAL_RAY_PYTHON": python, "RAY_ADDRESS": cluster.address}
    arguments = ("--database", url, "--files", f"file://{folder / 'files'}", "--machine", "ray")
    arguments += ("--allow-open-runners", "--variable", "RAY_AUTH_TOKEN")
    servers: list[Server] = []
    stack.callback(_end_runners, servers, url, told)
    for name in ("first", "second"):
        servers.append(Server(folder / name, *arguments, variables=told))
        stack.callback(_close, servers[-1])
    key = servers[0].key
    (servers[1].data / "owner.key").write_text(key)
    servers[1].key = servers[1].variables["FAL_KEY"] = key
    return servers


def _close(server: Server) -> None:
    if server.program.process.poll() is None:
        server.close()


def _end_runners(servers: list[Server], url: str, told: Mapping[str, str]) -> None:
    command = [sys.executable, "-m", "fal_core.cli", "server", "end-runners"]
    command += ["--data", str(servers[0].data), "--database", url, "--machine", "ray"]
    subprocess.run(command, env={**os.environ, **told}, check=True, stdout=subprocess.DEVNULL)


class _Calls:
    """A program that calls the application without end, and what it has printed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._slowest = 0.0
        self._answered = 0
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait_for(self, count: int, what: str) -> None:
        """Wait until so many more calls are answered, and print how long the slowest took."""
        with self._changed:
            self._slowest, goal = 0.0, self._answered + count
            self._changed.wait_for(lambda: self._answered >= goal or self._has_ended())
            if self._has_ended():
                print(f"  a call failed while {what}", flush=True)
            else:
                print(
                    f"  {count} calls answered while {what}, the slowest in "
                    f"{self._slowest:.2f} s",
                    flush=True,
                )

    def join(self) -> None:
        self._reader.join()

    def _has_ended(self) -> bool:
        return self.process.poll() is not None

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self._answered += 1
                self._slowest = max(self._slowest, float(line.split()[1]))
                self._changed.notify_all()
        self.process.wait()
        with self._changed:
            self._changed.notify_all()


@contextlib.contextmanager
def _calling(clients: Clients, variables: Mapping[str, str]) -> Iterator[_Calls]:
    command = [str(clients.folder / "bin" / "python"), "-c", _CALLS]
    told = {"PATH": os.environ["PATH"], "HOME": str(clients.home), **variables}
    process = subprocess.Popen(command, env=told, stdout=subprocess.PIPE, text=True)
    calls = _Calls(process)
    try:
        yield calls
    finally:
        process.terminate()
        calls.join()


def _kill_node(cluster: Cluster) -> None:
    """Kill the node that has the runner."""
    for address, pid in cluster.nodes.items():
        if runs_workers(pid):
            cluster.kill_node(address)
            print(f"  the node {address} is killed, which has the runner", flush=True)
            return
    raise SystemExit("No node has a runner.")


def _stay(servers: list[Server]) -> None:
    for number, server in enumerate(servers, 1):
        print(f"Server {number} is reached with these variables:")
        for name, value in server.variables.items():
            print(f"  export {name}={shlex.quote(value)}")
    print("Ctrl-C ends everything.", flush=True)
    signal.pause()


@contextlib.contextmanager
def _telling(what: str) -> Iterator[None]:
    print(f"{what} ...", end=" ", flush=True)
    begun = time.monotonic()
    yield
    print(f"{time.monotonic() - begun:.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
