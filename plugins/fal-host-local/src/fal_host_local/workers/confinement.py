"""
Confinement: the cgroups of one worker, and what keeps its limits where there are none.

The keeper runs this module by itself, as it does its own; nothing else of the package is
imported here. A group is made before the worker starts, and removed once it has ended with
all its processes. What a keeper that was killed has left is removed by the next one.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # known to no type checker
import errno
import os
import time

from fal_core_worker import trees

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_NAME = "fal-core-"

#: Seconds that the processes of a group may take to end once they are killed, and between
#: two looks at them.
_PATIENCE, _TURN = 2.0, 0.01

#: Seconds after which an empty group of a keeper that is gone is removed.
_OLD = 60.0


class Confinement:
    """
    What one worker may use.

    Arguments:
        told: What the caller says: ``groups``, each with its folder, its version and its
            files; ``memory`` in bytes, ``cpus`` and ``processes`` where no group has them; and
            whether it ``measures``.

        number: That of the worker.

    Attributes:
        peak: The most bytes that it has used, as far as that is known.

        is_counted: Whether a cgroup has counted the memory.

        kills: How many of its processes were killed because they used more than they may.
    """

    def __init__(self, told: dict[str, Any], number: int) -> None:
        self._told = told
        self._groups: list[str] = []
        self._name = group_name(os.getpid(), number)
        self.watches = "memory" in told or told.get("measures", False)
        self.peak = self.kills = 0
        self.is_counted = False
        for folder, _, _ in told["groups"]:
            _sweep(folder)

    def make(self) -> str:
        """Make the groups; return why that is impossible, or nothing."""
        for folder, _, files in self._told["groups"]:
            group = os.path.join(folder, self._name)
            try:
                _make(group)
                self._groups.append(group)
                for name, text, is_needed in files:
                    try:
                        _write(os.path.join(group, name), text)
                    except OSError as error:
                        if is_needed and not _is_less_around(name, error):
                            raise
            except OSError as error:
                return f"The limits cannot be set: {group}: {error.strerror}."
        return ""

    def enter(self) -> None:
        """Have this process, a child of the keeper, keep to the limits from now on."""
        for group in self._groups:
            _write(os.path.join(group, "cgroup.procs"), "0")
        cpus = self._told.get("cpus")
        if cpus is not None:
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cpus])
        processes = self._told.get("processes")
        if processes is not None:
            import resource

            # It counts all processes of the user.
            most = _count_processes() + processes
            hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
            if hard != resource.RLIM_INFINITY:
                most = min(most, hard)
            resource.setrlimit(resource.RLIMIT_NPROC, (most, most))

    def watch(self, pid: int) -> None:
        """
        Look how much memory worker *pid* and what it has started use, and kill them if it is
        more than they may.
        """
        used = sum(map(_proportional, (pid, *trees.descendants(pid))))
        self.peak = max(self.peak, used)
        if used > self._told.get("memory", used):
            self.kills += 1
            trees.kill_descendants(pid)
            _kill(pid)

    def end(self) -> int:
        """
        Kill what is left in the groups, read what they have counted, and remove them.

        Return which could not be removed: a bit for each, the lowest for the first.
        """
        busy = 0
        for place, group in enumerate(self._groups):
            self._count(group)
            until = time.monotonic() + _PATIENCE
            while True:
                # A function may have made groups of its own below it.
                below = _below(group)
                left = [pid for each in below for pid in _processes(each)]
                for pid in left:
                    _kill(pid)
                if not left and all(_remove(each) for each in below):
                    break
                if time.monotonic() > until:
                    # Something in it cannot be ended now; a later keeper looks again.
                    busy |= 1 << place
                    break
                time.sleep(_TURN)
        self._groups.clear()
        return busy

    def _count(self, group: str) -> None:
        for name in ("memory.peak", "memory.max_usage_in_bytes"):
            text = _read(os.path.join(group, name)).strip()
            if text.isdigit():
                self.peak = int(text)
                self.is_counted = True
        for name in ("memory.events", "memory.oom_control"):
            for line in _read(os.path.join(group, name)).splitlines():
                words = line.split()
                if words[:1] == ["oom_kill"]:
                    self.kills += int(words[1])


def group_name(keeper: int, number: int) -> str:
    """Return the name of the cgroups of worker *number* of the process *keeper*."""
    return f"{_NAME}{keeper}-{number}"


def _make(group: str) -> None:
    try:
        os.mkdir(group)
    except FileExistsError:
        # A keeper that was killed has left it, which had the process ID of this one.
        if not all(map(_remove, _below(group))):
            raise
        os.mkdir(group)


def _is_less_around(name: str, error: OSError) -> bool:
    """Tell whether a limit was refused as a group around it has fewer processors: those hold."""
    return name == "cpu.cfs_quota_us" and error.errno == errno.EINVAL


def _sweep(folder: str) -> None:
    """Remove the empty groups in *folder* of keepers that are gone."""
    for name in _list(folder):
        if not name.startswith(_NAME):
            continue
        owner = name.removeprefix(_NAME).partition("-")[0]
        if not owner.isdigit() or trees.runs(int(owner)):
            continue
        group = os.path.join(folder, name)
        try:
            # A keeper that is not seen from here may have just made it.
            is_old = time.time() - os.stat(group).st_mtime > _OLD
        except OSError:
            continue
        if is_old:
            for each in _below(group):
                _remove(each)


def _below(group: str) -> list[str]:
    """Return *group* and those in it, the innermost first."""
    return [folder for folder, _, _ in os.walk(group, topdown=False)]


def _remove(group: str) -> bool:
    try:
        os.rmdir(group)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _processes(group: str) -> list[int]:
    return [int(pid) for pid in _read(os.path.join(group, "cgroup.procs")).split()]


def _proportional(pid: int) -> int:
    """Return the memory of *pid* in bytes, of which it has its share of what it shares."""
    for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _count_processes() -> int:
    """Return how many processes and threads the user has."""
    own = os.getuid()
    return sum(1 for _ in _tasks_of(own))


def _tasks_of(user: int) -> Iterator[str]:
    for pid in _list("/proc"):
        if pid.isdigit():
            try:
                is_own = os.stat(f"/proc/{pid}").st_uid == user
            except OSError:
                continue
            if is_own:
                yield from _list(f"/proc/{pid}/task")


def _list(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
