"""
The agent's own connections, which functions that fork must not hold.

Like :mod:`fal_host_serverless.arrival` it travels as source, and needs nothing but the
standard library.
"""

from __future__ import annotations

import os


def keep_connections() -> None:
    """
    Keep the agent's own connections out of forked children.

    One that outlives the agent would hold them open, and nobody would see it end.
    """
    own = sockets()

    def leave() -> None:
        for descriptor, name in sockets().items():
            if own.get(descriptor) == name:
                os.close(descriptor)

    os.register_at_fork(after_in_child=leave)


def sockets() -> dict[int, str]:
    """
    Return the sockets of this process, where the system tells them.
    """
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
