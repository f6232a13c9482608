"""
Servers whose runners are on the nodes of a Ray cluster.
"""

from __future__ import annotations

import importlib.util
import json
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

if importlib.util.find_spec("fal_host_ray") is None:
    pytest.skip("The host is not installed.", allow_module_level=True)

from programs import share_clients

from fal_core.testing.harness.processes import wait_until
from fal_host_ray.testing import Cluster, find_ray, shared_cluster

#: Two nodes that can have a runner each, beside the head. Their devices are none.
NODES = (
    ("--num-cpus=8", "--num-gpus=0"),
    *[
        (
            "--num-cpus=64",
            "--num-gpus=1",
            "--memory=900000000000",
            "--labels=ray.io/accelerator-type=A100",
        )
    ]
    * 2,
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


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """
    A cluster whose nodes may be lost.
    """
    python = find_ray()
    if python is None:
        reason = "There is no Ray: name a Python that has it with FAL_RAY_PYTHON."
        # Where nobody looks, what was not tried would be taken for what works.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    with ExitStack() as stack:
        # The paths of Ray's sockets must be short.
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ray-"))
        cluster = stack.enter_context(shared_cluster(python, Path(folder) / "c", nodes=NODES))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("FAL_RAY_PYTHON", python)
        patch.setenv("RAY_ADDRESS", cluster.address)
        for name, value in cluster.variables.items():
            patch.setenv(name, value)
        yield cluster


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """
    The released clients.
    """
    return share_clients(tmp_path_factory, "newest")


@pytest.fixture(scope="module")
def applied(cluster: Cluster, make_applied: Any) -> Any:
    """
    A server for the released clients, whose runners are on this machine or on the cluster.
    """
    machines = ("local", "ray")
    options = [word for each in machines for word in ("--machine", each)]
    options += ["--allow-open-runners", "--variable", "RAY_AUTH_TOKEN"]
    return make_applied(*options, machines=machines)


def ask(applied: Any, n: int) -> Any:
    with applied.client() as client:
        answer = client.post("/owner/where", json={"n": n})
    assert answer.status_code == 200, answer.text
    return answer.json()


def has_processes(namespace: str) -> bool:
    """
    Return whether any process is left in a namespace of processes.
    """
    for each in Path("/proc").glob("[0-9]*/ns/pid"):
        # It may end meanwhile.
        with suppress(OSError):
            if os.readlink(each) == namespace:
                return True
    return False


def node_of(cluster: Cluster, answer: Any) -> str:
    """
    Return the address of the node that has answered.
    """
    for address, pid in cluster.nodes.items():
        # One that is lost has none.
        with suppress(FileNotFoundError):
            if os.readlink(f"/proc/{pid}/ns/pid_for_children") == answer["node"]:
                return address
    raise AssertionError(f"{answer} is of no node.")


def test_runner_outlives_its_server_and_requests_outlive_its_node(
    applied: Any, cluster: Cluster
):
    """
    An application that a released client deploys runs on a node that has the GPU of its machine
    type, which this machine has not. The next server finds its runner there. Requests that were
    accepted are answered by a runner on another node once that one is lost, and requests to the
    application meanwhile as well.
    """
    file = applied.data.parent / "where.py"
    file.write_text(APP)
    applied.fal("deploy", f"{file}::Where", "--app-name", "where", "--auth", "private")
    first = ask(applied, 1)
    node = node_of(cluster, first)
    assert node != next(iter(cluster.nodes))

    applied.program.end()
    applied.start()
    assert ask(applied, 2)["pid"] == first["pid"]

    gate = applied.data.parent / "gate"
    told = applied.python(
        f"""
        import fal_client, json
        gate = {str(gate)!r}
        handles = [
            fal_client.submit("owner/where", {{"n": n, "gate": gate}}) for n in range(12)
        ]
        print("JSON " + json.dumps([each.request_id for each in handles]))
        """
    )
    with ThreadPoolExecutor() as threads:
        cluster.kill_node(node)
        assert wait_until(lambda: not has_processes(first["node"]), 60)
        direct = threads.submit(ask, applied, 3)
        gate.touch()
        answers = applied.python(
            f"""
            import fal_client, json
            client = fal_client.SyncClient(default_timeout=120)
            handles = [client.get_handle("owner/where", each) for each in {told!r}]
            print("JSON " + json.dumps([each.get() for each in handles]))
            """
        )
        assert [each["n"] for each in answers] == list(range(12))
        assert node not in {node_of(cluster, each) for each in answers}
        assert direct.result()["n"] == 3
    lines = applied.fal("apps", "runners", "where", "--json")
    assert json.loads(lines.splitlines()[-1])["runners"]
