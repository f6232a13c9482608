"""
The agent's own connections, which children that a function forks must not keep open.

Like :mod:`fal_host_serverless.far_end.sent_calls` it travels as source, and needs only
the standard library.
"""

from __future__ import annotations

import os


def close_in_children() -> None:
    """
    Close the agent's own connections in forked children.

    A child that outlives the agent would keep them open, and hide the agent's end.
    """
    own = sockets()

    def close() -> None:
        for descriptor, name in sockets().items():
            if own.get(descriptor) == name:
                os.close(descriptor)

    os.register_at_fork(after_in_child=close)


def sockets() -> dict[int, str]:
    """Return the names of this process's sockets by descriptor; empty without ``/proc``."""
    found: dict[int, str] = {}
    try:
        names = os.listdir("/proc/self/fd")
    except OSError:
        return found
    for name in names:
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if target.startswith("socket:"):
            found[int(name)] = target
    return found
