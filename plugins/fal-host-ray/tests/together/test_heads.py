"""
The head of a cluster is gone: a cluster of its own is lost for that.

It runs with FAL_CORE_FAULTS=all alone, as a cluster takes seconds to start.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from fal_core import function
from fal_core.errors import HostClosed, HostError
from fal_host_ray import RayHost
from fal_host_ray.testing import shared_cluster
from fal_testing.harness.processes import wait_until
from fal_testing.harness.recorders import Recorder

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(os.environ.get("FAL_CORE_FAULTS") != "all", reason="It takes long."),
]

#: Seconds until something counts as missing: Ray itself looks for a head for as long.
PATIENCE = 60.0


def await_file(path: str) -> str:
    import os
    import time

    print("waiting")
    while not os.path.exists(path):
        time.sleep(0.05)
    return "came"


def read_capacity_of(host: RayHost) -> None:
    """Connect to the cluster; on a busy machine Ray's client does not on the first try."""
    for left in reversed(range(4)):
        try:
            host.read_capacity()
        except HostError:
            if not left:
                raise
        else:
            return


def is_told_that_nobody_is_there(host: RayHost) -> bool:
    try:
        host.read_capacity()
    except HostError as error:
        return "cannot be connected to" in str(error)
    return False


def test_calls_outlive_the_head(ray_python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A call goes on where the head of its cluster is gone. Another program is told at once that
    nobody is there, and so is the next call of one that was connected, by the port of the head
    or by Ray's client.
    """
    # The paths of Ray's sockets must be short, and its owner removes what the cluster has.
    temporary = tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True)
    monkeypatch.setenv("FAL_RAY_PYTHON", ray_python)
    with temporary as name, shared_cluster(ray_python, Path(name) / "c") as cluster:
        folder = Path(name)
        for variable, value in cluster.variables.items():
            monkeypatch.setenv(variable, value)
        host, later = RayHost(cluster.address), RayHost(cluster.address)
        client = RayHost(cluster.client)
        labels = {"ray.io/accelerator-type": "H100"}
        wait = function("current", host=host, ray_labels=labels)(await_file)
        recorder = Recorder(wait.make_launcher())
        recorder.launch(str(folder / "file"))
        recorder.wait_for_line("waiting", PATIENCE)
        read_capacity_of(client)
        cluster.kill_node(next(iter(cluster.nodes)))
        with pytest.raises(HostError, match="cannot be connected to"):
            function("current", host=later)(os.getpid)()
        # Ray ends its program where it has looked in vain for a minute.
        with pytest.raises(HostClosed, match="The head is gone"):
            function("current", host=host)(os.getpid)()
        with pytest.raises(HostError):
            read_capacity_of(client)
        assert wait_until(lambda: is_told_that_nobody_is_there(client), PATIENCE)
        (folder / "file").touch()
        assert recorder.result(PATIENCE) == "came"
        for each in (client, later, host):
            each.close()
