"""
Ports: who has one, and where a service that insists on one can have it.

A port that a service was given is noted in a file that is locked for as long as
the service lives, so that two which are started at once do not both find it free.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from contextlib import suppress
from pathlib import Path

from fal_core.caches import cache_root
from fal_core.errors import PortTaken
from fal_host_local import namespaces

#: The state of a socket that listens, as /proc has it.
_LISTENS = "0A"


class Place:
    """
    Where a service is reached that brings its own server.

    Attributes:
        inner: The port that it listens on.

        port: The one of this machine that leads there; another where the service
            has a network of its own.
    """

    def __init__(self, inner: int, port: int, lock: int | None) -> None:
        self.inner = inner
        self.port = port
        self._lock = lock

    @property
    def is_apart(self) -> bool:
        """
        Whether the service has a network of its own.
        """
        return self._lock is None

    @property
    def url(self) -> str:
        """
        Where the service is reached.
        """
        return f"http://127.0.0.1:{self.port}"

    def leave(self) -> None:
        """
        Let others have the port.
        """
        lock, self._lock = self._lock, -1
        if lock is not None and lock >= 0:
            os.close(lock)


def find_place(port: int, name: str, reference: str) -> Place:
    """
    Return where the service *name* can have *port*.

    Raises:
        PortTaken: It is taken, and there are no network namespaces.
    """
    lock = _lock(port, name, reference)
    if lock is not None:
        if is_free(port):
            return Place(port, port, lock)
        os.close(lock)
    reason = namespaces.missing()
    if reason:
        raise PortTaken(port, _holder(port, ours=lock is None), reason)
    return Place(port, free_port(), None)


def is_free(port: int) -> bool:
    """
    Tell whether nobody listens on *port* of this machine.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except PermissionError:
            return True
        except OSError:
            return False
    return True


def free_port() -> int:
    """
    Return a port of this machine that nobody has.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(pid: int, port: int) -> bool:
    """
    Tell whether somebody listens on *port* in the network of *pid*.
    """
    return bool(_listening(port, f"/proc/{pid}/net"))


def _lock(port: int, name: str, reference: str) -> int | None:
    """
    Take the file of *port*; return None if another service has it.
    """
    path = _file(port)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    os.ftruncate(lock, 0)
    os.pwrite(lock, json.dumps({"name": name, "reference": reference}).encode(), 0)
    return lock


def _file(port: int) -> Path:
    return Path(cache_root()) / "ports" / str(port)


def _holder(port: int, *, ours: bool) -> str:
    """
    Return who has *port*, in words.
    """
    if ours:
        try:
            service = json.loads(_file(port).read_text())
            return f"the function {service['name']!r} ({service['reference']})"
        except (OSError, ValueError, KeyError):
            pass
    for pid in _processes_with(_listening(port, "/proc/net")):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        line = " ".join(words.split("\0")).strip()
        return f"process {pid} ({line if len(line) <= 80 else line[:77] + '...'})"
    return "another process"


def _listening(port: int, folder: str) -> set[str]:
    """
    Return the inodes of sockets that listen on *port*.
    """
    found = set()
    for name in ("tcp", "tcp6"):
        try:
            lines = Path(folder, name).read_text().splitlines()[1:]
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
