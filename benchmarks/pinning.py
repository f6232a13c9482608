"""Cores: the client on one, whatever it has started on the other."""

from __future__ import annotations

import os


def pin(client: int, worker: int) -> None:
    """Keep this process on core *client*, and all its descendants on *worker*."""
    for thread in _threads(os.getpid()):
        move(thread, client)
    for process in descendants(os.getpid()):
        for thread in _threads(process):
            move(thread, worker)


def cores() -> tuple[int, int] | None:
    """Return the two cores that are used, or None where there are no two."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    allowed = sorted(os.sched_getaffinity(0))
    return (allowed[0], allowed[1]) if len(allowed) > 1 else None


def parent_of(pid: int) -> int:
    """Return the process that has started *pid*."""
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])


def descendants(pid: int) -> list[int]:
    """Return the processes that *pid* and its descendants have started."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                parent = parent_of(int(name))
            except OSError:
                continue
            children.setdefault(parent, []).append(int(name))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            found.append(child)
            waiting.append(child)
    return found


def _threads(pid: int) -> list[int]:
    try:
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return []


def move(thread: int, core: int) -> None:
    """Keep one thread on *core*."""
    try:
        os.sched_setaffinity(thread, {core})
    except OSError:
        pass  # It has ended meanwhile.
