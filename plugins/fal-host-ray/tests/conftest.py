"""Fixtures of the tests of the host ``ray``: a cluster of two nodes, and hosts on it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fal_host_ray import RayHost
from fal_host_ray.testing import TWO_NODES, Cluster, find_ray, shared_cluster

#: A node that may be lost: nothing is placed there that does not name it.
SPARE = ("--num-cpus=0", "--num-gpus=0", '--resources={"spare": 4}')


@pytest.fixture(scope="session")
def ray_python() -> str:
    """A Python that has Ray."""
    python = find_ray()
    if python is None:
        reason = "There is no Ray: name a Python that has it with FAL_RAY_PYTHON."
        # Where nobody looks, what was not tried would be taken for what works.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    return python


@pytest.fixture(scope="session")
def cluster(
    ray_python: str, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Cluster]:
    """
    A cluster of two nodes and a spare one, which the whole test run shares. The short proof
    has nothing that needs more than one of them, and each costs a busy machine much.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    # The paths of Ray's sockets must be short.
    folder = Path(tempfile.gettempdir()) / f"ray-{shared.stat().st_ino:x}"
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        is_short = pytestconfig.getoption("proof", None) == "short"
        nodes = TWO_NODES[:1] if is_short else (*TWO_NODES, SPARE)
        cluster = stack.enter_context(shared_cluster(ray_python, folder, nodes=nodes))
        patch.setenv("FAL_RAY_PYTHON", ray_python)
        for name, value in cluster.variables.items():
            patch.setenv(name, value)
        yield cluster


@pytest.fixture(scope="session")
def ray_host(cluster: Cluster) -> Iterator[RayHost]:
    """A host on the cluster, which tests share."""
    host = RayHost(cluster.address)
    yield host
    host.close()


@pytest.fixture(scope="session")
def host_program(cluster: Cluster) -> str:
    """What a program of the laws makes its host by."""
    return f"from fal_host_ray import RayHost\nhost = RayHost({cluster.address!r})"


@pytest.fixture(scope="session")
def law_timeout() -> float:
    """Seconds that a law may take."""
    return 30.0
