"""
Control groups: where this process may make some, and which limits they keep.

Those of version 2 are used where a part of the hierarchy is delegated to this user, and
those of version 1 where they can be written, as by root.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import attrs

#: The file of each limit, by the version.
FILES = {
    1: {"memory": "memory.limit_in_bytes", "cpu": "cpu.cfs_quota_us", "pids": "pids.max"},
    2: {"memory": "memory.max", "cpu": "cpu.max", "pids": "pids.max"},
}

#: Microseconds in which a group may use its share of the processors.
PERIOD = 100_000


@attrs.frozen
class Hierarchy:
    """
    A folder in which cgroups can be made.

    Attributes:
        controllers: What these keep to: ``memory``, ``cpu``, ``pids``.
    """

    folder: str
    version: int
    controllers: tuple[str, ...]


@cache
def find_hierarchies() -> tuple[Hierarchy, ...]:
    """Return where this process may make cgroups, each controller once. Each was tried."""
    with suppress(OSError):
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        own = Path("/proc/self/cgroup").read_text().splitlines()
        return tuple(choose(mounts, own, can_make))
    return ()


def choose(
    mounts: Sequence[str], own: Sequence[str], works: Callable[[Hierarchy], bool]
) -> Iterator[Hierarchy]:
    """
    Yield the hierarchies to use.

    Arguments:
        mounts: The lines of ``/proc/self/mountinfo``.

        own: Those of ``/proc/self/cgroup``.

        works: Tells whether cgroups with a limit can be made in one.
    """
    paths: dict[str, str] = {}
    for line in own:
        _, controllers, path = line.split(":", 2)
        paths |= dict.fromkeys(controllers.split(","), path)
    left = ["memory", "cpu", "pids"]
    for version in (2, 1):
        for line in mounts:
            fields = line.split()
            kind, _, options = fields[fields.index("-") + 1 :][:3]
            if kind != ("cgroup2" if version == 2 else "cgroup"):
                continue
            root, mount = fields[3], fields[4]
            named = [""] if version == 2 else options.split(",")
            own_path = next((paths[each] for each in named if each in paths), None)
            wanted = [each for each in left if version == 2 or each in named]
            if own_path is None or not wanted:
                continue
            for folder in _folders(mount, root, own_path, upwards=version == 2):
                kept = tuple(
                    each for each in wanted if works(Hierarchy(folder, version, (each,)))
                )
                if kept:
                    yield Hierarchy(folder, version, kept)
                    left = [each for each in left if each not in kept]
                    break


def _folders(mount: str, root: str, path: str, *, upwards: bool) -> Iterator[str]:
    """
    Yield the folder of the cgroup *path*, and those above it, of which a part may be
    delegated: only one without processes has others with limits in it.
    """
    inner = os.path.relpath(path, root)
    if inner.startswith(".."):
        # It lies outside of what this process sees.
        inner = "."
    folder = os.path.normpath(os.path.join(mount, inner))
    yield folder
    while upwards and folder != mount and len(folder) > len(mount):
        folder = os.path.dirname(folder)
        yield folder


def can_make(hierarchy: Hierarchy) -> bool:
    """Try whether a cgroup can be made that keeps a limit, and that a process can join."""
    [controller] = hierarchy.controllers
    # Two threads may try at once. A keeper removes it where this process is killed.
    name = f"fal-core-{os.getpid()}-try-{threading.get_native_id()}-{controller}"
    made = os.path.join(hierarchy.folder, name)
    try:
        os.mkdir(made)
    except OSError:
        return False
    try:
        limit = FILES[hierarchy.version][controller]
        if not os.access(os.path.join(made, limit), os.W_OK):
            return False
        return hierarchy.version == 1 or _can_join(made)
    finally:
        with suppress(OSError):
            os.rmdir(made)


def _can_join(folder: str) -> bool:
    """Have a process join the cgroup *folder*: it has to be able to leave its own."""
    join = "import sys; open(sys.argv[1], 'w').write('0')"
    argv = [sys.executable, "-I", "-S", "-c", join, os.path.join(folder, "cgroup.procs")]
    return not subprocess.run(argv, capture_output=True, check=False).returncode
