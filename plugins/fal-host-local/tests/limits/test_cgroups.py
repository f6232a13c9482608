"""Where cgroups can be made, on machines of several kinds."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from fal_host_local.limits.cgroups import Hierarchy, choose, find_hierarchies

UNIFIED = "32 24 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"
HYBRID = [
    "33 31 0:30 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct",
    "37 31 0:34 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory",
    "38 31 0:35 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids",
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw",
]
USER = "/user.slice/user-1000.slice/user@1000.service/app.slice"


def test_a_user_has_what_is_delegated() -> None:
    """
    With version 2 the nearest folder above is taken that has a controller, as the part that
    systemd has delegated to a user.
    """
    own = [f"0::{USER}/terminal.scope"]

    def works(tried: Hierarchy) -> bool:
        return tried.folder.endswith("app.slice") and tried.controllers != ("cpu",)

    found = list(choose([UNIFIED], own, works))
    assert found == [Hierarchy(f"/sys/fs/cgroup{USER}", 2, ("memory", "pids"))]


def test_root_has_those_of_version_1() -> None:
    """Where version 2 has no controllers, those of version 1 are taken, below the own group."""
    own = ["5:memory:/job/7", "4:cpu,cpuacct:/", "3:pids:/", "0::/"]
    found = list(choose(HYBRID, own, lambda tried: tried.version == 1))
    assert [(each.folder, each.controllers) for each in found] == [
        ("/sys/fs/cgroup/cpu", ("cpu",)),
        ("/sys/fs/cgroup/memory/job/7", ("memory",)),
        ("/sys/fs/cgroup/pids", ("pids",)),
    ]


@pytest.mark.parametrize("root", ["/docker/abc", "/elsewhere"])
def test_a_container_sees_a_part(root: str) -> None:
    """Inside a container the mount begins at its own group, which the path may lie outside of."""
    mount = f"32 24 0:28 {root} /sys/fs/cgroup rw - cgroup2 cgroup rw"
    own = ["0::/docker/abc"]
    [found] = choose([mount], own, lambda tried: tried.controllers == ("memory",))
    assert found == Hierarchy("/sys/fs/cgroup", 2, ("memory",))


def test_what_is_found_here_was_tried() -> None:
    """Each controller is found once, in a folder in which groups can be made, and none is left."""
    found = find_hierarchies()
    controllers = [each for hierarchy in found for each in hierarchy.controllers]
    assert len(set(controllers)) == len(controllers)
    for hierarchy in found:
        assert os.access(hierarchy.folder, os.W_OK)
        names = os.listdir(hierarchy.folder)
        assert not [name for name in names if name.startswith(f"fal-core-try-{os.getpid()}")]


def test_threads_that_look_at_once_find_the_same() -> None:
    """Where cgroups can be made is tried by each thread for itself, and leaves nothing."""
    # It is found once in a process.
    look = find_hierarchies.__wrapped__
    barrier = threading.Barrier(8)

    def find(_: int) -> tuple[Hierarchy, ...]:
        barrier.wait()
        return look()

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(find, range(8))) == {find_hierarchies()}
    left = [os.listdir(found.folder) for found in find_hierarchies()]
    assert not [name for names in left for name in names if f"{os.getpid()}-try" in name]
