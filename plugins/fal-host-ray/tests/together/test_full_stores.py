"""
A cluster whose object store is full.

It runs with FAL_CORE_FAULTS=all alone, as it takes a gigabyte of memory.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from fal_core import function
from fal_host_ray import RayHost
from fal_host_ray.testing import Cluster

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(os.environ.get("FAL_CORE_FAULTS") != "all", reason="It takes long."),
]

#: Another program of the cluster, which keeps what it has put into the stores of both nodes.
OTHER = """
import os, sys
import ray

ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")

@ray.remote(num_cpus=1, scheduling_strategy="SPREAD")
class Holder:
    def fill(self):
        self.held = [ray.put(os.urandom(1 << 20) * 60) for _ in range(15)]
        return ray.get_runtime_context().get_node_id()

holders = [Holder.remote() for _ in range(4)]
nodes = set(ray.get([each.fill.remote() for each in holders]))
assert len(nodes) > 1, nodes
print("full", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def full_stores(cluster: Cluster) -> Iterator[None]:
    """Have the object stores of the cluster full."""
    other = subprocess.Popen(
        [cluster.python, "-c", OTHER, cluster.address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert other.stdin is not None
    assert other.stdout is not None
    try:
        assert other.stdout.readline() == b"full\n"
        yield
    finally:
        other.stdin.close()
        other.stdout.close()
        other.wait()


def double(data: bytes) -> bytes:
    return data * 2


@pytest.mark.parametrize("kind", ["current", "virtualenv"])
def test_calls_need_no_room_in_the_object_store(
    cluster: Cluster, full_stores: None, kind: str
) -> None:
    """Code reaches the nodes, and large values workers, whatever others keep in the stores."""
    host = RayHost(cluster.address)
    try:
        size = 64 << 20
        assert len(function(kind, host=host)(double)(bytes(size))) == 2 * size
    finally:
        host.close()
