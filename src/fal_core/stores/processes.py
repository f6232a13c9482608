"""The processes of this machine, as far as ``/proc`` shows them."""

from __future__ import annotations

import os


def is_visible() -> bool:
    """Tell whether this system shows its processes."""
    return os.path.isdir("/proc/self")


def process_ids() -> list[int]:
    """Return the ids of all processes."""
    names = os.listdir("/proc") if is_visible() else []
    return [int(name) for name in names if name.isdigit()]


def read_process(process: int, name: str) -> bytes:
    """Return the file *name* of a process, as in ``cmdline``; empty if it cannot be read."""
    try:
        with open(f"/proc/{process}/{name}", "rb") as stream:
            return stream.read()
    except OSError:
        return b""  # The process has ended, or belongs to another user.


def command_lines() -> list[bytes]:
    """Return the command lines of all processes, their arguments separated by zero bytes."""
    return [read_process(process, "cmdline") for process in process_ids()]
