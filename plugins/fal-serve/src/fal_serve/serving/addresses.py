"""The address that a service listens on where none is given."""

from __future__ import annotations

import os
import re

#: What makers of containers leave inside: files, and variables of the environment.
_MARKS = ("/.dockerenv", "/run/.containerenv")
_VARIABLES = ("container", "KUBERNETES_SERVICE_HOST")

#: The number of a machine's first network namespace, and the Linux that began to use it.
_FIRST_NETWORK = 0xEFFFFFF9
_NUMBERED = (6, 18)
#: The number of a machine's first user namespace.
_FIRST_USERS = 0xEFFFFFFD
#: Opens the user namespace that a namespace belongs to, unless that is one further out.
_NS_GET_USERNS = 0xB701


def default_address() -> str:
    """
    Return the address at which the intended clients reach the service.

    It is the loopback address of a machine, and all addresses in a container or in a
    network namespace of its own, whose maker decides what reaches it.
    """
    return "0.0.0.0" if is_contained() or has_own_network() else "127.0.0.1"


def is_contained() -> bool:
    """Tell whether this process runs in a container."""
    return any(map(os.path.exists, _MARKS)) or any(map(os.environ.get, _VARIABLES))


def has_own_network() -> bool:
    """Tell whether this process is in another network namespace than its machine."""
    try:
        own = os.stat("/proc/self/ns/net").st_ino
        users = os.stat("/proc/self/ns/user").st_ino
    except OSError:
        # Another system than Linux.
        return False
    if own == _FIRST_NETWORK:
        return False
    try:
        return own != os.stat("/proc/1/ns/net").st_ino
    except OSError:
        # The first process belongs to another user.
        return (users != _FIRST_USERS and _is_of_own_users()) or _kernel() >= _NUMBERED


def _is_of_own_users() -> bool:
    """Tell whether the network namespace belongs to the user namespace of this process."""
    import fcntl

    descriptor = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        os.close(fcntl.ioctl(descriptor, _NS_GET_USERNS))
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _kernel() -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))
