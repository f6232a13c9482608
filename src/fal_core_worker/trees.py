"""
Process trees: finding and ending what a process has started.

A process that is a child subreaper inherits the orphans among its descendants,
those that called ``setsid`` or were forked twice too, so that a walk over the
children of children finds all of them. Elsewhere orphans are not found.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # known to no type checker
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    # The keeper begins without it.
    from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def prepare_child() -> None:
    """
    Make this process a subreaper that dies with its parent, where Linux has both.
    """
    prctl = _prctl()
    if prctl is not None:
        prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def become_subreaper() -> None:
    """
    Inherit orphans from now on, where Linux has it. It survives ``exec``.
    """
    prctl = _prctl()
    if prctl is not None:
        prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children(pid: int) -> list[int]:
    """
    Return the children of *pid*.
    """
    try:
        found = []
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += [int(child) for child in file.read().split()]
        return found
    except FileNotFoundError:
        return _children_by_parent(pid) if os.path.isdir(f"/proc/{pid}") else []
    except OSError:
        return []


def descendants(pid: int) -> list[int]:
    """
    Return the children of *pid*, and theirs.
    """
    found: list[int] = []
    waiting = [pid]
    while waiting:
        below = children(waiting.pop())
        found += below
        waiting += below
    return found


def now() -> float:
    """
    Return the seconds since this machine was started, which nobody sets.
    """
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


def started(pid: int) -> float:
    """
    Return when *pid* was started, as :func:`now` counts; 0 if it is gone.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0.0
    return int(fields[19]) / _TICKS


def kill_descendants(pid: int, since: float | None = None) -> None:
    """
    End everything that *pid* has started, or has started *since* a time of :func:`now`.

    Killing a process can orphan others to *pid*, so it looks again until none
    is left, for a second at most.
    """
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        below = descendants(pid)
        if since is not None:
            # The clock of processes ticks coarsely.
            below = [child for child in below if started(child) >= since - 0.02]
        for child in below:
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if pid == os.getpid():
            for child in below:
                try:
                    os.waitpid(child, 0)
                except ChildProcessError:
                    pass
        if not below:
            return
        if pid != os.getpid():
            time.sleep(0.005)


def _children_by_parent(pid: int) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            if fields and int(fields[1]) == pid:
                found.append(int(name))
    return found


def _prctl() -> Any:
    try:
        # What ``ctypes`` calls: its own import takes as long as all others of the keeper.
        from _ctypes import call_cdeclfunction, dlopen, dlsym

        # typeshed does not know that None is the process itself.
        address = dlsym(dlopen(None, 0), "prctl")  # type: ignore[arg-type]
        return lambda *arguments: call_cdeclfunction(address, arguments)
    except ImportError:
        pass
    except (OSError, AttributeError):
        return None
    try:
        import ctypes

        return ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return None
