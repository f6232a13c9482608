"""
Memory: what a process uses together with its descendants.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from fal_core_worker import trees
from fal_server_agent.limits import find_mounts

#: The files of a control group, by its version: what it uses, the part of that which the kernel
#: takes back before it ends a process, and its limit.
_FILES = {
    1: ("memory.usage_in_bytes", "total_inactive_file", "memory.limit_in_bytes"),
    2: ("memory.current", "inactive_file", "memory.max"),
}

#: The limits of groups that have none are as large as this, in bytes, or larger.
_NO_LIMIT = 1 << 62


def measure_memory() -> tuple[int | None, int | None]:
    """
    Return the bytes that this process and its descendants use, and those that they may. None
    where that is unknown, and without a limit.

    A control group counts them where they are alone in one. Elsewhere, what several processes
    share is counted once.
    """
    found = next(_read_groups(), None)
    if found is not None:
        return found
    processes = [os.getpid(), *trees.descendants(os.getpid())]
    return sum(map(_measure_process, processes)) or None, None


def _read_groups() -> Iterator[tuple[int, int | None]]:
    """
    Yield what the control groups tell that hold this process and its descendants alone.
    """
    for folder, version in _find_groups():
        with suppress(OSError, ValueError, KeyError):
            there = [int(each) for each in _read(f"{folder}/cgroup.procs").split()]
            ours = {os.getpid(), *trees.descendants(os.getpid())}
            if os.getpid() not in there or any(
                each not in ours and trees.runs(each) for each in there
            ):
                continue
            used, cached, most = _FILES[version]
            size = int(_read(f"{folder}/{used}"))
            told = dict(line.split() for line in _read(f"{folder}/memory.stat").splitlines())
            limit = _read(f"{folder}/{most}").strip()
            yield (
                max(0, size - int(told[cached])),
                int(limit) if limit.isdigit() and int(limit) < _NO_LIMIT else None,
            )


def _find_groups() -> Iterator[tuple[str, int]]:
    """
    Yield the folders in which the control group of this process may be, with their version.
    """
    paths: dict[int, str] = {}
    with suppress(OSError, ValueError):
        for line in _read("/proc/self/cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                paths[2] = path
            elif "memory" in controllers.split(","):
                paths[1] = path
    for mount, version in find_mounts():
        if version in paths:
            yield f"{mount}{paths[version]}", version
            # In a container, its own group is mounted there.
            yield mount, version


def _measure_process(pid: int) -> int:
    """
    Return the bytes that a process uses, its share of what several do. 0 if it is gone.
    """
    with suppress(OSError), open(f"/proc/{pid}/smaps_rollup", "rb") as file:
        for line in file:
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) << 10
    with suppress(OSError, IndexError):
        return int(_read(f"/proc/{pid}/statm").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()
