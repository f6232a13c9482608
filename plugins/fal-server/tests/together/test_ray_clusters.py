"""Servers whose runners are on the nodes of a Ray cluster."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

if importlib.util.find_spec("fal_host_ray") is None:
    pytest.skip("The host is not installed.", allow_module_level=True)

from programs import share_clients
from ray_nodes import (
    HEAD,
    MACHINES,
    NODE,
    OPTIONS,
    ask,
    collect,
    deploy,
    has_processes,
    node_of,
    start_cluster,
    submit,
)

from fal_host_ray.testing import Cluster
from fal_testing.harness.processes import wait_until


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster whose nodes may be lost."""
    with start_cluster((HEAD, NODE, NODE)) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The released clients."""
    return share_clients(tmp_path_factory, "newest")


@pytest.fixture(scope="module")
def applied(cluster: Cluster, make_applied: Any) -> Any:
    """A server for the released clients, whose runners are on this machine or on the cluster."""
    return make_applied(*OPTIONS, machines=MACHINES)


def test_runner_outlives_its_server_and_requests_outlive_its_node(
    applied: Any, cluster: Cluster
):
    """
    An application that a released client deploys runs on a node that has the GPU of its machine
    type, which this machine has not. The next server finds its runner there. Requests that were
    accepted are answered by a runner on another node once that one is lost, and requests to the
    application meanwhile as well.
    """
    deploy(applied)
    first = ask(applied, 1)
    node = node_of(cluster, first)
    assert node != next(iter(cluster.nodes))

    applied.program.end()
    applied.start()
    assert ask(applied, 2)["pid"] == first["pid"]

    gate = applied.data.parent / "gate"
    told = submit(applied, range(12), gate=str(gate))
    with ThreadPoolExecutor() as threads:
        cluster.kill_node(node)
        assert wait_until(lambda: not has_processes(first["node"]), 60)
        direct = threads.submit(ask, applied, 3)
        gate.touch()
        answers = collect(applied, told)
        assert [each["n"] for each in answers] == list(range(12))
        assert node not in {node_of(cluster, each) for each in answers}
        assert direct.result()["n"] == 3
    lines = applied.fal("apps", "runners", "where", "--json")
    assert json.loads(lines.splitlines()[-1])["runners"]
