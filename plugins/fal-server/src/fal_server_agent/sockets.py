"""
Sockets: the Unix sockets by which a runner is reached on its own machine.

Those of a runner are in a directory of its own, below one that only its user can enter.
Nobody else on the machine reaches them.
"""

from __future__ import annotations

import functools
import os

#: What the URL of a Unix socket starts with, in front of its path.
UNIX = "unix:"

#: The names of sockets: of the agent, of what it serves, and of the metrics of that.
CONTROL, RUN, METRICS = "control", "run", "metrics"

#: The longest address of a Unix socket, in bytes; on macOS it is shorter than on Linux.
_LONGEST = 103


def url_of(path: str) -> str:
    """
    Return the URL of the Unix socket at *path*.
    """
    return UNIX + path


def address_of(path: str) -> str:
    """
    Return the address in this process of the Unix socket at *path*.

    A path that is too long for an address is shortened: the directory above that of the
    runner stays open, and is named by its descriptor.
    """
    if len(os.fsencode(path)) <= _LONGEST:
        return path
    folder, name = os.path.split(path)
    root, runner = os.path.split(folder)
    return f"/proc/self/fd/{_open(root)}/{runner}/{name}"


def find_network() -> str:
    """
    Return the name of the network namespace of this process. Empty where there are none.
    """
    try:
        return os.readlink("/proc/self/ns/net")
    except OSError:
        return ""


@functools.cache
def _open(directory: str) -> int:
    return os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
