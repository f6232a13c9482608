"""
Servers whose runners are on nodes of Ray, while the cluster or its network fails.

They run with FAL_CORE_FAULTS=all alone, as clusters take long to start and to be given up.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

if importlib.util.find_spec("fal_host_ray") is None:
    pytest.skip("The host is not installed.", allow_module_level=True)

from programs import Applied, Program, share_clients
from ray_nodes import (
    HEAD,
    NODE,
    OPTIONS,
    ask,
    collect,
    deploy,
    node_of,
    start_cluster,
    submit,
)

from fal_host_ray.testing import Cluster

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(os.environ.get("FAL_CORE_FAULTS") != "all", reason="It takes long."),
    pytest.mark.timeout(900),
]

#: Seconds of a cut that calls outlive, and of one after which they are lost.
SHORT, LONG = 4.0, 40.0


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster with one node that can have runners."""
    with start_cluster((HEAD, NODE)) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The released clients."""
    return share_clients(tmp_path_factory, "newest")


@contextmanager
def serving(
    folder: Path, launch_program: Any, clients: Any, options: Sequence[str]
) -> Iterator[Applied]:
    """Run a server, whose runners end with their cluster."""

    def launch(data: Path, *arguments: str) -> Program:
        program: Program = launch_program(data, *arguments, *options)
        return program

    server = Applied(folder / "data", launch, clients)
    yield server
    if server.program.process.poll() is None:
        server.program.end()


@pytest.fixture
def applied(
    cluster: Cluster, tmp_path: Path, launch_program: Any, clients: Any
) -> Iterator[Applied]:
    """A server whose runners are on this machine or on the cluster."""
    with serving(tmp_path, launch_program, clients, OPTIONS) as server:
        yield server


@contextmanager
def cut(address: str) -> Iterator[None]:
    """Drop what is sent to *address* and from it, without a word to either end."""
    table = f"fal_core_{address.replace('.', '_')}"
    rules = f"""
        table ip {table} {{
            chain output {{
                type filter hook output priority 0;
                ip daddr {address} ip saddr != {address} drop
                ip saddr {address} ip daddr != {address} drop
            }}
        }}
    """
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
    try:
        yield
    finally:
        subprocess.run(["nft", "delete", "table", "ip", table], check=True)


class Load:
    """Requests that are submitted all the time."""

    def __init__(self, applied: Any, threads: ThreadPoolExecutor) -> None:
        self._applied = applied
        self._stopped = False
        self._sent: Future[list[str]] = threads.submit(self._send)

    def _send(self) -> list[str]:
        ids: list[str] = []
        while not self._stopped:
            ids += submit(self._applied, range(len(ids), len(ids) + 4))
        return ids

    def finish(self) -> list[Any]:
        """Send no more, and return all responses."""
        self._stopped = True
        return collect(self._applied, self._sent.result())


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as threads:
        yield threads


@pytest.mark.skipif(
    os.getuid() != 0 or not shutil.which("nft"), reason="It takes root and nft."
)
@pytest.mark.parametrize("seconds", [SHORT, LONG])
def test_network_that_is_cut_and_mended(
    cluster: Cluster,
    applied: Applied,
    threads: ThreadPoolExecutor,
    seconds: float,
):
    """
    What is submitted before, while and after no byte reaches a node is answered once its
    network is mended, or the node has been started anew.
    """
    deploy(applied)
    node = node_of(cluster, ask(applied, 1))
    load = Load(applied, threads)
    with ExitStack() as stack:
        with cut(node):
            time.sleep(seconds)
        if seconds == LONG:
            # Ray gives up a node that it does not hear of, which ends itself then.
            cluster.kill_node(node)
            stack.enter_context(cluster.start_node(node))
        asked = threads.submit(ask, applied, 2)
        # Requests go on after the fault, too.
        time.sleep(2.0)
        answers = load.finish()
        assert [each["n"] for each in answers] == list(range(len(answers)))
        assert asked.result()["n"] == 2


def test_head_that_is_killed_and_started_again(
    cluster: Cluster, applied: Applied, threads: ThreadPoolExecutor
):
    """
    While the head is gone, runners go on answering. What was submitted when their node ends
    as well is answered by those of the cluster that follows.
    """
    deploy(applied)
    node = node_of(cluster, ask(applied, 1))
    head = next(iter(cluster.nodes))
    load = Load(applied, threads)
    cluster.kill_node(head)
    assert node_of(cluster, ask(applied, 2)) == node
    # Without its head a node has nothing to do any more.
    cluster.kill_node(node)
    waiting = submit(applied, range(4))
    with cluster.start_node(head), cluster.start_node(node):
        assert [each["n"] for each in collect(applied, waiting)] == list(range(4))
        answers = load.finish()
        assert [each["n"] for each in answers] == list(range(len(answers)))


def test_server_ends_without_its_cluster(cluster: Cluster, applied: Applied):
    """A server that is told to end does so, though nobody can ask its cluster any more."""
    deploy(applied)
    ask(applied, 1)
    for address in cluster.nodes:
        cluster.kill_node(address)
    applied.program.end()


def test_server_that_reaches_its_cluster_by_rays_client(
    cluster: Cluster, tmp_path: Path, launch_program: Any, clients: Any
):
    """
    A server outside of the cluster, which knows the head's port for clients, has its runners
    there, and the next server finds them.
    """
    options = ("--machine", cluster.client, *OPTIONS[4:])
    with serving(tmp_path, launch_program, clients, options) as applied:
        deploy(applied)
        first = ask(applied, 1)
        assert node_of(cluster, first) != next(iter(cluster.nodes))
        applied.program.end()
        applied.start()
        assert ask(applied, 2)["pid"] == first["pid"]
