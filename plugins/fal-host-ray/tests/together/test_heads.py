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
from fal_core.errors import HostError
from fal_core.testing.harness.recorders import Recorder
from fal_host_ray import RayHost
from fal_host_ray.testing import shared_cluster

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(os.environ.get("FAL_CORE_FAULTS") != "all", reason="It takes long."),
]

#: Seconds until something counts as missing.
PATIENCE = 60.0


def await_file(path: str) -> str:
    import os
    import time

    print("waiting")
    while not os.path.exists(path):
        time.sleep(0.05)
    return "came"


def test_calls_outlive_the_head(ray_python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A call goes on where the head of its cluster is gone, and another program is told at once
    that nobody is there.
    """
    # The paths of Ray's sockets must be short, and its owner removes what the cluster has.
    temporary = tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True)
    monkeypatch.setenv("FAL_RAY_PYTHON", ray_python)
    with temporary as name, shared_cluster(ray_python, Path(name) / "c") as cluster:
        folder = Path(name)
        for variable, value in cluster.variables.items():
            monkeypatch.setenv(variable, value)
        host, later = RayHost(cluster.address), RayHost(cluster.address)
        labels = {"ray.io/accelerator-type": "H100"}
        wait = function("current", host=host, ray_labels=labels)(await_file)
        recorder = Recorder(wait.make_launcher())
        recorder.launch(str(folder / "file"))
        recorder.wait_for_line("waiting", PATIENCE)
        cluster.kill_node(next(iter(cluster.nodes)))
        with pytest.raises(HostError, match="cannot be connected to"):
            function("current", host=later)(os.getpid)()
        (folder / "file").touch()
        assert recorder.result(PATIENCE) == "came"
        later.close()
        host.close()
