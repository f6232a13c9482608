"""Clusters of Ray whose nodes may be lost, and servers that have their runners there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from fal_host_ray.testing import Cluster, find_ray, shared_cluster

#: The head, which has no runner, and a node that can have one. Its devices are none.
HEAD = ("--num-cpus=8", "--num-gpus=0")
NODE = (
    "--num-cpus=64",
    "--num-gpus=1",
    "--memory=900000000000",
    "--labels=ray.io/accelerator-type=A100",
)

#: The hosts of a server whose runners are on this machine or on the cluster, and its options.
MACHINES = ("local", "ray")
OPTIONS = (
    *("--machine", "local", "--machine", "ray"),
    *("--allow-open-runners", "--variable", "RAY_AUTH_TOKEN"),
)

APP = """
import os, time
import fal
from pydantic import BaseModel

class Input(BaseModel):
    n: int = 1
    gate: str = ""

class Where(fal.App, keep_alive=300, max_concurrency=1, max_multiplexing=4):
    machine_type = "GPU-A100"

    @fal.endpoint("/")
    def where(self, input: Input) -> dict:
        print("answering", input.n)
        # Until the test lets it go.
        while input.gate and not os.path.exists(input.gate):
            time.sleep(0.02)
        return {"n": input.n, "pid": os.getpid(), "node": os.readlink("/proc/self/ns/pid")}
"""


@contextmanager
def start_cluster(nodes: Sequence[Sequence[str]]) -> Iterator[Cluster]:
    """Start a cluster for the servers of a module."""
    python = find_ray()
    if python is None:
        reason = "There is no Ray: name a Python that has it with FAL_RAY_PYTHON."
        # Where nobody looks, what was not tried would be taken for what works.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    with ExitStack() as stack:
        # The paths of Ray's sockets must be short.
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ray-"))
        cluster = stack.enter_context(shared_cluster(python, Path(folder) / "c", nodes=nodes))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("FAL_RAY_PYTHON", python)
        patch.setenv("RAY_ADDRESS", cluster.address)
        for name, value in cluster.variables.items():
            patch.setenv(name, value)
        yield cluster


def deploy(applied: Any) -> None:
    """Deploy the application ``where``, which needs a GPU that this machine has not."""
    file = applied.data.parent / "where.py"
    file.write_text(APP)
    applied.fal("deploy", f"{file}::Where", "--app-name", "where", "--auth", "private")


def ask(applied: Any, n: int) -> Any:
    """Ask the application where it runs."""
    with applied.client() as client:
        answer = client.post("/owner/where", json={"n": n})
    assert answer.status_code == 200, answer.text
    return answer.json()


def submit(applied: Any, numbers: range, *, gate: str = "") -> list[str]:
    """Submit a request for each of *numbers*, and return their ids."""
    ids: list[str] = applied.python(
        f"""
        import fal_client, json
        handles = [
            fal_client.submit("owner/where", {{"n": n, "gate": {gate!r}}})
            for n in range({numbers.start}, {numbers.stop})
        ]
        print("JSON " + json.dumps([each.request_id for each in handles]))
        """
    )
    return ids


def collect(applied: Any, ids: list[str]) -> list[Any]:
    """Wait for the responses of requests, and return them."""
    answers: list[Any] = applied.python(
        f"""
        import fal_client, json
        client = fal_client.SyncClient(default_timeout=120)
        handles = [client.get_handle("owner/where", each) for each in {ids!r}]
        print("JSON " + json.dumps([each.get() for each in handles]))
        """
    )
    return answers


def has_processes(namespace: str) -> bool:
    """Return whether any process is left in a namespace of processes."""
    for each in Path("/proc").glob("[0-9]*/ns/pid"):
        # It may end meanwhile.
        with suppress(OSError):
            if os.readlink(each) == namespace:
                return True
    return False


def node_of(cluster: Cluster, answer: Any) -> str:
    """Return the address of the node that has answered."""
    for address, pid in cluster.nodes.items():
        # One that is lost has none.
        with suppress(FileNotFoundError):
            if os.readlink(f"/proc/{pid}/ns/pid_for_children") == answer["node"]:
                return address
    raise AssertionError(f"{answer} is of no node.")
