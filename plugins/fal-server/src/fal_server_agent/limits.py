"""
Limits: the memory that a runner may use, together with its child processes.

Where this process may make a control group, the kernel counts its memory together with
that of its children, and kills the group when it exceeds the limit. Elsewhere each of
its processes is limited by itself, and Python raises MemoryError.
"""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator

#: The control group that holds the groups of all runners.
_PARENT = "fal-core"

#: How often a group is made again after another runner has removed it as a leftover.
_ATTEMPTS = 5


def limit_memory(size: int, name: str) -> bool:
    """
    Limit this process and its future children to *size* bytes of memory.

    Return True if a control group enforces the limit, and False if each process is
    limited by itself.

    Arguments:
        name: The name of the group; no other runner may have a group of that name.
    """
    # Runners that were killed could not remove their groups.
    drop_groups()
    for parent, settings in _parents(size):
        for _ in range(_ATTEMPTS):
            try:
                _enter(os.path.join(parent, name), settings)
                return True
            except FileNotFoundError:
                # Another runner removed the group before this process was in it.
                continue
            except OSError:
                break
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    if most != resource.RLIM_INFINITY:
        size = min(size, most)
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))
    return False


def drop_groups() -> None:
    """Remove the groups that have no process any more."""
    for parent, _ in _parents(0, make=False):
        with contextlib.suppress(OSError), os.scandir(parent) as entries:
            for entry in entries:
                if entry.is_dir():
                    # The kernel refuses to remove one that is in use.
                    with contextlib.suppress(OSError):
                        os.rmdir(entry.path)


def has_ended_some(name: str) -> bool:
    """
    Tell whether the control group *name* has ended processes that used more memory than it
    may, as long as the group is there.
    """
    for parent, _ in _parents(0, make=False):
        for file in ("memory.events", "memory.oom_control"):
            with contextlib.suppress(OSError), open(os.path.join(parent, name, file)) as lines:
                counts = dict(line.split() for line in lines)
                return counts.get("oom_kill", "0") != "0"
    return False


def _enter(group: str, settings: dict[str, int]) -> None:
    os.makedirs(group, exist_ok=True)
    try:
        for file, value in settings.items():
            # The first file is the limit; the others do not exist on every system.
            if file == next(iter(settings)) or os.path.exists(f"{group}/{file}"):
                _write(f"{group}/{file}", str(value))
        _write(f"{group}/cgroup.procs", str(os.getpid()))
    except OSError:
        with contextlib.suppress(OSError):
            os.rmdir(group)
        raise


def _parents(size: int, *, make: bool = True) -> Iterator[tuple[str, dict[str, int]]]:
    """
    Yield directories for the groups of runners, with the files that limit a group to
    *size* bytes.
    """
    for mount, version in find_mounts():
        parent = os.path.join(mount, _PARENT)
        if version == 1:
            yield (
                parent,
                {"memory.limit_in_bytes": size, "memory.memsw.limit_in_bytes": size},
            )
            continue
        if make:
            try:
                os.makedirs(parent, exist_ok=True)
                for each in (mount, parent):
                    _write(f"{each}/cgroup.subtree_control", "+memory")
            except OSError:
                continue
        yield parent, {"memory.max": size, "memory.swap.max": 0, "memory.oom.group": 1}


def find_mounts() -> Iterator[tuple[str, int]]:
    """Yield the mount points of memory control groups, with their version."""
    try:
        with open("/proc/self/mounts") as file:
            lines = [line.split() for line in file]
    except OSError:
        return
    for _, path, kind, options, *_ in lines:
        if kind == "cgroup2":
            with contextlib.suppress(OSError), open(f"{path}/cgroup.controllers") as file:
                if "memory" in file.read().split():
                    yield path, 2
        elif kind == "cgroup" and "memory" in options.split(","):
            yield path, 1


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)
