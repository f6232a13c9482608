"""
Ports: whether one is free, and who has taken one for a service.

A port that a service was given is noted in a file that is locked for as long as
the service lives, so that two which are started at once do not both find it free.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections import deque
from contextlib import suppress

from fal_core_worker.archives import cache_root

#: The state of a socket that listens, as /proc has it.
_LISTENS = "0A"

#: The first port that is taken to be free for anybody, and how many are tried.
_LOWEST = 20000
_TRIES = 100

#: What keeps the ports that this process has found free from others that look for one,
#: the oldest first, and how many are kept so.
_found: deque[int] = deque()
_KEPT = 32


def claim(port: int, name: str, reference: str) -> int | None:
    """
    Take *port* for the service *name*; return None if another service has it.

    What is returned is a file descriptor; the port is had until it is closed.
    """
    path = _file(port)
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    os.ftruncate(lock, 0)
    os.pwrite(lock, json.dumps({"name": name, "reference": reference}).encode(), 0)
    return lock


def holder(port: int, *, claimed: bool) -> str:
    """
    Return who has *port*, in words.

    Arguments:
        claimed: Whether another service has claimed it.
    """
    if claimed:
        try:
            with open(_file(port), "rb") as file:
                service = json.load(file)
            return f"the function {service['name']!r} ({service['reference']})"
        except (OSError, ValueError, KeyError):
            pass
    for pid in _processes_with(_listening(port, "/proc/net")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().decode(errors="replace")
        except OSError:
            continue
        line = " ".join(words.split("\0")).strip()
        return f"process {pid} ({line if len(line) <= 80 else line[:77] + '...'})"
    return "another process"


def is_free(port: int, *, address: str = "") -> bool:
    """
    Tell whether nobody listens on *port* of this machine, or of one address of it.
    """
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
    Return a port of this machine that nobody has.

    It is none of those that the system gives to connections, and to whoever asks for
    any: until it is used it might be given away again. Nor is it found again by another
    process that looks here, before it is used.
    """
    first = _LOWEST
    end = _first_given_away()
    for _ in range(_TRIES if end > first else 0):
        port = first + int.from_bytes(os.urandom(4), "little") % (end - first)
        if is_free(port) and _keep(port):
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        given: int = probe.getsockname()[1]
        return given


def _keep(port: int) -> bool:
    """
    Keep *port* from being found by another process; return False if it has found it.

    What is kept is a name of the system's, which ends with the process and is no file.
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


def _first_given_away() -> int:
    """
    Return the first port that the system gives away by itself; 0 where it does not say.
    """
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range", "rb") as file:
            return int(file.read().split()[0])
    except (OSError, ValueError, IndexError):
        return 0


def listens(pid: int, port: int) -> bool:
    """
    Tell whether somebody listens on *port* in the network of *pid*.
    """
    return bool(_listening(port, f"/proc/{pid}/net"))


def _listening(port: int, folder: str) -> set[str]:
    """
    Return the inodes of sockets that listen on *port*.
    """
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
    names = os.listdir("/proc") if wanted else []
    return [int(name) for name in names if name.isdigit() and wanted & _open_files(name)]


def _open_files(pid: str) -> set[str]:
    """
    Return what the descriptors of a process lead to, as far as one may know.
    """
    found = set()
    try:
        for number in os.listdir(f"/proc/{pid}/fd"):
            with suppress(FileNotFoundError):
                found.add(os.readlink(f"/proc/{pid}/fd/{number}"))
    except OSError:
        pass
    return found


def _file(port: int) -> str:
    return os.path.join(cache_root(), "ports", str(port))


# What a forked child has of it may be another's there.
os.register_at_fork(after_in_child=_found.clear)
