"""
Sockets: the Unix sockets by which a runner is reached on its own machine.

Those of a runner are in a directory of its own, below one that only its user can enter.
Nobody else on the machine reaches them.
"""

from __future__ import annotations

import os
import resource
import sys

#: What the URL of a Unix socket starts with, in front of its path.
UNIX = "unix:"

#: The names of sockets: of the agent, of what it serves, and of the metrics of that.
CONTROL, RUN, METRICS = "control", "run", "metrics"


def url_of(path: str) -> str:
    """Return the URL of the Unix socket at *path*."""
    return UNIX + path


def find_network() -> str:
    """Return the name of the network namespace of this process. Empty where there are none."""
    try:
        return os.readlink("/proc/self/ns/net")
    except OSError:
        return ""


def part_of_files(parts: int) -> int:
    """
    Return one of so many equal *parts* of the files that this process may have open, which are
    its application's too.
    """
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if most == resource.RLIM_INFINITY else max(1, most // parts)
