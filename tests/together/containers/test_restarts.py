"""
Engines that are killed or restarted while a function runs in one of their containers.

Each process of an engine is killed once by default, on one of the hosts; FAL_CORE_FAULTS=all
kills each on both.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from docker_daemons import DockerDaemon
from local_engines import LocalEngine

from fal_core import WorkerLost, function
from fal_host_local import LocalHost
from fal_testing import ProcessHost
from fal_testing.harness.processes import wait_until

pytestmark = pytest.mark.faults

EVERY = os.environ.get("FAL_CORE_FAULTS") == "all"

#: Seconds that a container has to start, and to be gone.
PATIENCE = 60

#: Where a function runs, and which processes of its engine are killed.
KILLS = [
    ("local", ("podman",)),
    ("another", ("conmon",)),
    ("local", ("podman", "conmon")),
    ("another", ("podman",)),
    ("local", ("conmon",)),
    ("another", ("podman", "conmon")),
]


def find_processes(engine: LocalEngine, *programs: str) -> list[int]:
    """Return the processes of *programs* that run a container of *engine* for this process."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        is_ours = any(f"fal-core-{os.getpid()}-" in word for word in words)
        if os.path.basename(words[0]) in programs and is_ours:
            found.append(int(folder.name))
    return found


def left_of(engine: LocalEngine) -> list[str]:
    """Return the containers, mounts and cgroups that there are."""
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    found = [line for line in mounts if str(engine.folder) in line and "/merged" in line]
    return [*engine.containers(), *found]


def groups_of(containers: set[str]) -> list[Path]:
    """Return the cgroups of *containers*."""
    hierarchies = [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*")]
    return [
        group
        for container in containers
        for hierarchy in hierarchies
        for group in hierarchy.glob(f"libpod_parent/libpod-{container}*")
    ]


def hold(path: str) -> None:
    import time

    open(path, "w").close()
    # Ends by being killed.
    time.sleep(600)


def work() -> int:
    return 1


@pytest.mark.parametrize(("place", "victims"), KILLS if EVERY else KILLS[:3])
def test_an_engine_that_is_killed_is_named(
    place: str,
    victims: tuple[str, ...],
    contained: Any,
    engine: LocalEngine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """
    A call whose engine is killed is lost, and its error names the engine; the next call works,
    and no container, mount or cgroup is left.
    """
    monkeypatch.chdir(tmp_path)
    host: Any = LocalHost() if place == "local" else ProcessHost()
    volumes = [f"{tmp_path}:{tmp_path}"]
    info = contained(host=host, volumes=volumes)(hold).spawn(str(tmp_path / "held"))
    assert info.future is not None
    assert wait_until((tmp_path / "held").exists, PATIENCE)
    containers = engine.containers()
    assert groups_of(containers)
    for pid in find_processes(engine, *victims):
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerLost, match="podman itself was ended or restarted while"):
        info.future.result(PATIENCE)
    assert contained(host=host)(work)() == 1
    host.close()
    assert wait_until(lambda: not left_of(engine) and not groups_of(containers), PATIENCE)


def declare(host: Any, func: Any) -> Any:
    return function("container", host=host, image="localhost/tests/python:1", network="host")(
        func
    )


def test_a_daemon_that_is_restarted_is_named(
    docker: LocalHost, daemon: DockerDaemon, tmp_path: Path
):
    """
    A daemon that is told to end takes its containers along: the call is lost, and its error
    names the engine. Once there is a daemon again the next call works.
    """
    info = declare(docker, hold).spawn(str(tmp_path / "held"))
    assert info.future is not None
    assert wait_until((tmp_path / "held").exists, PATIENCE)
    daemon.end(signal.SIGTERM)
    with pytest.raises(WorkerLost, match="docker has stopped its container"):
        info.future.result(PATIENCE)
    assert daemon.start()
    assert declare(docker, work)() == 1


def wait_for(path: str) -> int:
    import os
    import time

    open(f"{path}.up", "w").close()
    while not os.path.exists(path):
        time.sleep(0.01)
    return 2


def test_a_call_outlives_a_daemon_that_is_killed(
    docker: LocalHost, daemon: DockerDaemon, tmp_path: Path
):
    """
    A killed daemon leaves its containers, and a worker is not spoken to through it: the call
    returns.
    """
    up = tmp_path / "go.up"
    info = declare(docker, wait_for).spawn(str(tmp_path / "go"))
    assert info.future is not None
    assert wait_until(up.exists, PATIENCE)
    daemon.end(signal.SIGKILL)
    (tmp_path / "go").touch()
    assert info.future.result(PATIENCE) == 2
    assert daemon.start()
    assert declare(docker, work)() == 1
