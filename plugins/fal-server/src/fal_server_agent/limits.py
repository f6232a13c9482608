"""
Limits: how much memory a runner may use, with all that it starts.

Where this process may make a control group, the system counts its memory there with
that of its children, and ends what uses too much. Elsewhere each of its processes is
refused what it asks for beyond the limit, which Python raises as MemoryError.
"""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator

#: The group that has those of runners.
_PARENT = "fal-core"

#: How often a group is made anew that another runner has taken for one of the past.
_ATTEMPTS = 5


def limit_memory(size: int, name: str) -> bool:
    """
    Let this process, and what it starts from now on, use *size* bytes of memory.

    It is True where the system ends what uses more, and False where it refuses it.

    Arguments:
        name: What the group is called; no other runner has one of that name.
    """
    # Nobody is left to remove the groups of runners that were ended.
    drop_groups()
    for parent, settings in _parents(size):
        for _ in range(_ATTEMPTS):
            try:
                _enter(os.path.join(parent, name), settings)
                return True
            except FileNotFoundError:
                # Another runner removed it before this process was in it.
                continue
            except OSError:
                break
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    if most != resource.RLIM_INFINITY:
        size = min(size, most)
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))
    return False


def drop_groups() -> None:
    """
    Remove the groups that no process is in any more.
    """
    for parent, _ in _parents(0, make=False):
        with contextlib.suppress(OSError):
            for entry in os.scandir(parent):
                if entry.is_dir():
                    # One that is in use is refused.
                    with contextlib.suppress(OSError):
                        os.rmdir(entry.path)


def _enter(group: str, settings: dict[str, int]) -> None:
    os.makedirs(group, exist_ok=True)
    try:
        for file, value in settings.items():
            # The first says how much; systems differ in what else there is to say.
            if file == next(iter(settings)) or os.path.exists(f"{group}/{file}"):
                _write(f"{group}/{file}", str(value))
        _write(f"{group}/cgroup.procs", str(os.getpid()))
    except OSError:
        with contextlib.suppress(OSError):
            os.rmdir(group)
        raise


def _parents(size: int, *, make: bool = True) -> Iterator[tuple[str, dict[str, int]]]:
    """
    Yield where groups of runners may be made, and what limits one to *size* bytes.
    """
    for mount, version in _mounts():
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


def _mounts() -> Iterator[tuple[str, int]]:
    """
    Yield where control groups that count memory are, and of which version.
    """
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
