"""Calls on a cluster of two nodes: where they run, what they ask for, and how they are lost."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fal_core import function
from fal_core.environments import LocalInterpreter
from fal_core.errors import EnvironmentBuildError, HostError, WorkerLost
from fal_core.events import State
from fal_host_ray import RayHost
from fal_host_ray.testing import Cluster
from fal_testing.harness.processes import wait_until
from fal_testing.harness.recorders import Recorder

#: Seconds until something counts as missing.
PATIENCE = 60.0


@pytest.fixture(scope="module")
def host(cluster: Cluster) -> Iterator[RayHost]:
    """A host on the cluster, which the tests of this file share."""
    host = RayHost(cluster.address)
    yield host
    host.close()


def devices() -> str | None:
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def version() -> tuple[int, int]:
    return sys.version_info[:2]


def find_node() -> str:
    # Each node has a namespace of its own.
    return os.readlink("/proc/self/ns/pid")


def hold() -> None:
    import time

    print("holding")
    time.sleep(600)


def node_of(pid: int) -> str:
    """Return what :func:`find_node` returns on the node that ends with *pid*."""
    return os.readlink(f"/proc/{pid}/ns/pid_for_children")


def test_a_call_runs_on_the_python_of_the_cluster(host: RayHost) -> None:
    """A function that names no Python runs on the cluster's, whatever this one is."""
    assert function("current", host=host)(version)()[0] == 3


def test_a_call_has_the_gpus_that_ray_gives_it(host: RayHost) -> None:
    """Workers with GPUs see one each, and not that of another; a worker without sees none."""
    first, second = (
        function("current", host=host, num_gpus=1, keep_alive=kept)(devices)()
        for kept in (30, 31)
    )
    assert first in ("0", "1")
    assert second in ("0", "1")
    assert not function("current", host=host)(devices)()


def test_labels_choose_the_node(host: RayHost, cluster: Cluster) -> None:
    """A function that asks for labels runs on the node that has them."""
    labels = {"ray.io/accelerator-type": "H100"}
    find = function("current", host=host, ray_labels=labels)(find_node)
    assert find() == node_of(list(cluster.nodes.values())[1])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"num_gpus": 64}, "64 GPU"),
        ({"ray_cpus": 4000}, "4000 CPU"),
        ({"ray_labels": {"zone": "moon"}}, "zone=moon"),
        ({"ray_resources": {"TPU": 1}}, "1 TPU"),
    ],
)
def test_what_no_node_has_is_refused(
    host: RayHost, options: dict[str, Any], named: str
) -> None:
    """A call that no node can ever run is an error that says what is missing, and does not wait."""
    with pytest.raises(HostError, match=named):
        function("current", host=host, **options)(devices)()


def test_a_call_that_waits_for_room_says_so(host: RayHost) -> None:
    """A call is told what it waits for while others have that, and runs once it is free."""
    spare = function("current", host=host, ray_cpus=0, ray_resources={"spare": 3}, keep_alive=0)
    holding = Recorder(spare(hold).make_launcher())
    waiting = Recorder(spare(devices).make_launcher())
    holding.launch()
    try:
        holding.wait_for_line("holding", PATIENCE)
        waiting.launch()
        said = "A worker waits for 3 spare of which"
        assert wait_until(
            lambda: any(log.message.startswith(said) for log in waiting.logs), PATIENCE
        )
        assert State("queued") in waiting.events
    finally:
        holding.cancel(0.1)
    waiting.result(PATIENCE)


def test_idle_workers_give_way(host: RayHost) -> None:
    """A call that waits for what an idle worker has gets it, long before that would have ended."""
    spare = function("current", host=host, ray_cpus=0, ray_resources={"spare": 3})
    for kept in (600, 601):
        assert spare(version).on(keep_alive=kept)()[0] == 3


def test_an_environment_that_cannot_be_solved_is_an_error_of_its_own(host: RayHost) -> None:
    """A call whose requirements there are not ends with the error of its builder."""
    broken = function("virtualenv", host=host, requirements=["fal-core-no-such-thing==1"])
    with pytest.raises(EnvironmentBuildError, match="fal-core-no-such-thing"):
        broken(devices)()


def test_a_function_has_a_python_of_its_own(host: RayHost) -> None:
    """Function, cluster and caller may each have another Python."""
    if LocalInterpreter.find("3.13") is None:
        pytest.skip("There is no Python 3.13 here.")
    assert function("virtualenv", host=host, python_version="3.13")(version)() == (3, 13)


def test_many_workers_cause_one_build_on_each_node(host: RayHost) -> None:
    """
    Workers that need one new environment at once cause one build: the nodes of this cluster
    share the directory of their environments.
    """
    say: list[str] = []
    hurry = function(
        "virtualenv", host=host, requirements=["six"], max_concurrency=12, ray_cpus=0.5
    )(find_node)
    recorders = [Recorder(hurry.make_launcher()) for _ in range(12)]
    for recorder in recorders:
        recorder.launch()
    for recorder in recorders:
        recorder.result(PATIENCE)
        say += [log.message for log in recorder.logs if "Building a virtual" in log.message]
    # All calls that wait for a build are told of it.
    assert len(set(say)) <= 1


def test_a_worker_that_is_killed_is_lost_alone(host: RayHost) -> None:
    """A call whose worker is killed is lost by that signal; its neighbours on the node are not."""

    @function("current", host=host, keep_alive=60, max_concurrency=2)
    def look(kill: bool) -> int:
        import os

        if kill:
            os.kill(os.getpid(), 9)
        return os.getpid()

    before = look(False)
    with pytest.raises(WorkerLost) as caught:
        look(True)
    assert caught.value.signal == 9
    assert isinstance(before, int)
    assert isinstance(look(False), int)


def test_a_lost_worker_is_counted_by_retries(host: RayHost, tmp_path: Path) -> None:
    """A call that declares another attempt has it on another worker, and Ray makes none."""
    marks = tmp_path / "marks"

    @function("current", host=host, retries=1)
    def fall(path: str) -> int:
        import os

        with open(path, "a") as file:
            file.write("x")
        if os.path.getsize(path) == 1:
            os._exit(3)
        return os.path.getsize(path)

    assert fall(str(marks)) == 2


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_child_has_a_launcher_of_its_own(host: RayHost) -> None:
    """A process that was forked after a call makes calls too, and disturbs none of its parent."""
    find = function("current", host=host, keep_alive=60)(find_node)
    assert find()
    child = os.fork()
    if not child:
        code = 1
        try:
            code = 0 if find() else 2
            host.close()
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert find()


def test_large_values_are_whole(host: RayHost) -> None:
    """A large argument comes back as it was."""
    value = os.urandom(1 << 20) * 16
    turn = function("current", host=host)(lambda given: given[::-1])
    assert turn(value) == value[::-1]


@pytest.mark.faults
@pytest.mark.skipif(
    os.environ.get("FAL_CORE_FAULTS") != "all",
    reason="Ray starts a process for its client, which takes long on a busy machine.",
)
def test_rays_client_reaches_the_cluster(cluster: Cluster) -> None:
    """A host with the address of a server of Ray's client runs calls, and leaves nothing behind."""
    host = RayHost(cluster.client)
    find = function("current", host=host)(find_node)
    try:
        try:
            found = find()
        except HostError as error:
            # Ray gives up on its own server after 30 seconds.
            if "Initialization failure from server" not in str(error):
                raise
            found = find()
        assert found.startswith("pid:")
    finally:
        host.close()


def test_a_node_that_is_lost_is_named(host: RayHost, cluster: Cluster) -> None:
    """A call whose node is gone is lost before Ray has noticed, and its error names the node."""
    address = list(cluster.nodes)[-1]
    on_spare = function("current", host=host, ray_cpus=0, ray_resources={"spare": 1})
    recorder = Recorder(on_spare(hold).make_launcher())
    recorder.launch()
    recorder.wait_for_line("holding", PATIENCE)
    cluster.kill_node(address)
    reason = recorder.wait(PATIENCE).reason
    assert isinstance(reason, WorkerLost)
    assert address in str(reason)
