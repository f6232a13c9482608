"""
Open files: a process may have more of them than the processes that it starts.

The system gives a limit from parent to child. A server raises its own, while the programs
of its users start with the limit that it was given.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["given_to_children", "most_open_files", "raise_open_files"]

#: The limit that this process was given, if it has raised it.
_given: int | None = None

_START = 'ulimit -Sn "$1" && shift && exec "$@"'


def raise_open_files(most: int) -> None:
    """
    Allow this process as many open files as the system lets it have, up to *most*.

    Processes that it starts have the same limit, unless :func:`given_to_children` makes
    their command.
    """
    global _given
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most if hard == resource.RLIM_INFINITY else min(most, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        _given = soft


def most_open_files() -> int | None:
    """Return how many files this process may have open. None for any number."""
    if sys.platform == "win32":
        return None
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def given_to_children(command: Sequence[str]) -> list[str]:
    """
    Return the command that runs *command* with the limit that this process was given. It is
    *command* unless this process has raised its limit.
    """
    if _given is None:
        return [*command]
    return ["/bin/sh", "-c", _START, "sh", str(_given), *command]
