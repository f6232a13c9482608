"""
Ports: which are free, and which service has claimed one.

A claimed port has a file, which is locked for as long as the service lives. So two
services that start at the same time never get the same port.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections import deque
from contextlib import suppress

from fal_core_worker.archives import cache_directory

#: The state of a listening socket in /proc/net/tcp.
_LISTENS = "0A"

#: The lowest port that is given out, and how many ports are tried.
_LOWEST = 20000
_TRIES = 100

#: The sockets that reserve the ports which this process has given out, oldest first, and
#: how many are kept.
_found: deque[int] = deque()
_KEPT = 32


class PortHeld(Exception):
    """A port is claimed or listened at. The message says by whom."""


def claim(port: int, name: str, reference: str, *, address: str = "") -> int:
    """
    Claim *port* for the service *name*, which listens on *address*.

    Return a file descriptor. The port is claimed until it is closed.

    Raises:
        PortHeld: Another service has claimed the port, or it is not free.
    """
    path = os.path.join(cache_directory("ports", make=True), str(port))
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    who = ""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if is_free(port, address=address):
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"the function {name!r} ({reference})".encode(), 0)
            return lock
    except OSError:
        who = os.pread(lock, 4096, 0).decode(errors="replace")
    os.close(lock)
    raise PortHeld(who or holder(port))


def holder(port: int) -> str:
    """Describe the process that listens on *port*."""
    for pid in _processes_with(_listening(port, "/proc/net")):
        try:
            with open(f"/proc/{pid}/cmdline", errors="replace") as file:
                line = file.read().replace("\0", " ").strip()
        except OSError:
            continue
        return f"process {pid} ({line if len(line) <= 80 else line[:77] + '...'})"
    return "another process"


def is_free(port: int, *, address: str = "") -> bool:
    """Tell whether *port* of this machine, or of one *address* of it, can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except PermissionError:
            return True
        except OSError:
            return False
    return True


def free_port() -> int:
    """
    Return a free port of this machine.

    It is not one of the ports that the system assigns by itself, which might be taken
    before the port is used. Nor is it returned to another process in the meantime.
    """
    count = _first_assigned() - _LOWEST
    for _ in range(_TRIES if count > 0 else 0):
        port = _LOWEST + int.from_bytes(os.urandom(4), "little") % count
        if is_free(port) and _reserve(port):
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _reserve(port: int) -> bool:
    """
    Reserve *port*. Return False if another process has reserved it.

    The reservation is an abstract socket address, which ends with the process.
    """
    with socket.socket(socket.AF_UNIX) as name:
        try:
            name.bind(f"\0fal-core-port-{port}")
        except OSError:
            return False
        _found.append(name.detach())
    if len(_found) > _KEPT:
        os.close(_found.popleft())
    return True


def _first_assigned() -> int:
    """Return the first port that the system assigns by itself, or 0 if it is not known."""
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range", "rb") as file:
            return int(file.read().split()[0])
    except (OSError, ValueError, IndexError):
        return 0


def listens(pid: int, port: int) -> bool:
    """Tell whether any process listens on *port* in the network namespace of *pid*."""
    return bool(_listening(port, f"/proc/{pid}/net"))


def _listening(port: int, folder: str) -> set[str]:
    """Return the inodes of the sockets that listen on *port*."""
    found = set()
    for name in ("tcp", "tcp6"):
        try:
            with open(os.path.join(folder, name)) as file:
                lines = file.read().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(fields[9])
    return found


def _processes_with(inodes: set[str]) -> list[int]:
    wanted = {f"socket:[{inode}]" for inode in inodes}
    names = filter(str.isdigit, os.listdir("/proc") if wanted else ())
    return [int(name) for name in names if wanted & _open_files(name)]


def _open_files(pid: str) -> set[str]:
    """Return the targets of the descriptors of a process, as far as they may be read."""
    found = set()
    try:
        for number in os.listdir(f"/proc/{pid}/fd"):
            with suppress(FileNotFoundError):
                found.add(os.readlink(f"/proc/{pid}/fd/{number}"))
    except OSError:
        pass
    return found


# In a forked child these descriptors may refer to something else.
os.register_at_fork(after_in_child=_found.clear)
