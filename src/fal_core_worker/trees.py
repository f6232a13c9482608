"""
Process trees: the processes that a process has started are found and killed.

A child subreaper inherits the orphans among its descendants, even if they called
``setsid`` or were forked twice. So a walk over its descendants finds all of them. Where
there are no subreapers, orphans are not found.

The monitor of a container is a descendant of what has started the container, and is left
alone with its helpers: it ends by itself once the container has, and cleans up. Killed, it
leaves the container's mounts, and a record that says the container is up.
"""

from __future__ import annotations

# ``signal`` is slow to import.
import _signal as signal  # type: ignore[import-not-found]  # typeshed lacks it
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
#: Names of programs that watch a container each: Podman and CRI-O start them.
_MONITORS = (b"(conmon)",)
_PROGRAMS = ("conmon", "conmon (deleted)")
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def prepare_child() -> None:
    """Make this process a subreaper that is killed when its parent ends, on Linux."""
    prctl = _prctl()
    if prctl is not None:
        prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def become_subreaper() -> None:
    """Make this process a subreaper, on Linux. It stays one after ``exec``."""
    prctl = _prctl()
    if prctl is not None:
        prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children(pid: int) -> list[int]:
    """Return the children of *pid*."""
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
    Return the children of *pid* and all their descendants.

    Of the monitor of a container and what is below it, these are the processes in the
    container alone.
    """
    found: list[int] = []
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        below = children(parent)
        if is_monitor(parent):
            below = [child for child in below if are_apart(child, parent)]
        waiting += below
        found += [child for child in below if not is_monitor(child)]
    return found


def contained(pid: int) -> list[int]:
    """Return the descendants of *pid* that run in containers."""
    return [each for each in descendants(pid) if are_apart(each, pid)]


def is_monitor(pid: int) -> bool:
    """Tell whether *pid* watches a container."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            if not file.read(64).partition(b" ")[2].startswith(_MONITORS):
                return False
    except OSError:
        return False
    try:
        # A process names itself as it likes.
        return os.path.basename(os.readlink(f"/proc/{pid}/exe")) in _PROGRAMS
    except FileNotFoundError:
        return True  # It is ending.
    except OSError:
        return False  # It keeps that secret, as no monitor does from who has started it.


def are_apart(one: int, other: int) -> bool:
    """Tell whether two processes see other processes, as one in a container does."""
    try:
        return os.readlink(f"/proc/{one}/ns/pid") != os.readlink(f"/proc/{other}/ns/pid")
    except OSError:
        # That of a process of another user is not told.
        return os.path.isdir(f"/proc/{one}")


def now() -> float:
    """Return the seconds since this machine was booted. Unlike the time, they cannot be set."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


def started(pid: int) -> float:
    """Return when *pid* was started, in terms of :func:`now`. Return 0 if it is gone."""
    fields = _status(pid)
    return int(fields[19]) / _TICKS if fields else 0.0


def runs(pid: int) -> bool:
    """Tell whether *pid* has not ended; a zombie has."""
    fields = _status(pid)
    return bool(fields) and fields[0] not in (b"Z", b"X")


def kill_descendants(pid: int, since: float | None = None) -> None:
    """
    Kill all descendants of *pid*, or those started *since* a time of :func:`now`.

    Killing a process can leave orphans to *pid*. So this is repeated until no descendant
    runs, for one second at most.
    """
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        below = descendants(pid)
        if pid != os.getpid():
            # Whether *pid* reaps those that were killed is up to it.
            below = [child for child in below if runs(child)]
        if since is not None:
            # The start times of processes have a resolution of 10 ms.
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
            fields = _status(int(name))
            if fields and int(fields[1]) == pid:
                found.append(int(name))
    return found


def _status(pid: int) -> list[bytes]:
    """Return what the system tells of *pid*, from its state on. Empty if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return []


def _prctl() -> Any:
    try:
        # ``ctypes`` is slow to import.
        from _ctypes import call_cdeclfunction, dlopen, dlsym

        # None is the process itself, which typeshed does not know.
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
