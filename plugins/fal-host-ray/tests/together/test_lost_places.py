"""
The laws of places that are lost, on a cluster of its own that loses a node.

It runs with FAL_CORE_FAULTS=all alone, as a cluster takes seconds to start.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from fal_host_ray import RayHost
from fal_host_ray.testing import Cluster, shared_cluster
from fal_testing.suite import *  # noqa: F403  # every law
from fal_testing.suite import GROUPS

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(os.environ.get("FAL_CORE_FAULTS") != "all", reason="It takes long."),
]

#: The laws that lose a place.
LAWS = ("test_a_call_whose_place_is_lost_ends", "test_a_call_after_a_lost_place_works")

for group in GROUPS.values():
    for law in [name for name in vars(group) if name.startswith("test_")]:
        if law not in LAWS:
            globals().pop(law, None)


@pytest.fixture(scope="session")
def own_cluster(ray_python: str) -> Iterator[Cluster]:
    # The paths of Ray's sockets must be short, and its owner removes what the cluster has.
    temporary = tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True)
    with temporary as name, shared_cluster(ray_python, Path(name) / "c") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def host(own_cluster: Cluster) -> Iterator[RayHost]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAL_RAY_PYTHON", own_cluster.python)
        for variable, value in own_cluster.variables.items():
            patch.setenv(variable, value)
        host = RayHost(own_cluster.address)
        yield host
        host.close()


@pytest.fixture(scope="session")
def kind_options() -> dict[str, Any]:
    # The node that is not the head.
    return {"ray_labels": {"ray.io/accelerator-type": "H100"}}


@pytest.fixture(scope="session")
def nodes_again() -> Iterator[ExitStack]:
    """The nodes that were started again."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def lose_place(own_cluster: Cluster, nodes_again: ExitStack) -> Callable[[int, str], None]:
    """End the node with all its processes, and start another one in its place."""

    def lose(pid: int, hostname: str) -> None:
        address = list(own_cluster.nodes)[1]
        nodes_again.close()
        own_cluster.kill_node(address)
        nodes_again.enter_context(own_cluster.start_node(address))

    return lose
