"""
Stops: the end of a worker that no signal reaches, or of what its program has left.

The keeper runs this module by itself in a process of its own, as it does its own; nothing else
of the package is imported here.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # known to no type checker
import os
import time

from fal_core_worker import trees

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds that a program has to end once what it runs in a container was killed.
_GRACE = 0.5
#: Seconds between two looks at whether a process has ended.
_TURN = 0.01
#: Seconds that the command may take, and the program around a worker that was ended.
_PATIENCE = 10.0


def stop(pid: int, become: Callable[[], None]) -> None:
    """
    End what program *pid* runs.

    Arguments:
        pid: 0 for a program that has ended already.

        become: Replaces a process with the command that ends it.
    """
    within = trees.contained(pid) if pid else []
    for each in within:
        _send_kill(each)
    if within and _has_ended(pid, _GRACE):
        return
    is_done = _run(become)
    if pid and not _has_ended(pid, _PATIENCE):
        # It may have been about to start what it was told to end.
        _send_kill(pid)
        is_done = False
    if not is_done:
        # Podman needs to be told twice where the monitor of a container was killed.
        _run(become)


def _run(become: Callable[[], None]) -> bool:
    """Run the command to its end, for some seconds at most; return whether it has succeeded."""
    pid = os.fork()
    if not pid:
        try:
            null = os.open(os.devnull, os.O_RDWR)
            for target in range(3):
                os.dup2(null, target)
            become()
        finally:
            os._exit(127)
    if not _has_ended(pid, _PATIENCE):
        _send_kill(pid)
    return not os.waitpid(pid, 0)[1]


def _has_ended(pid: int, seconds: float) -> bool:
    """Wait until *pid* runs no more, for some seconds at most; return whether that is so."""
    for _ in range(round(seconds / _TURN)):
        if not trees.runs(pid):
            return True
        time.sleep(_TURN)
    return False


def _send_kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
