"""The memory of processes, in bytes, as the system tells it."""

from __future__ import annotations

from pathlib import Path


def memory_of(pid: int) -> int:
    """Return how much memory a process has resident."""
    return _read(pid, "VmRSS")


def peak_of(pid: int) -> int:
    """Return the most memory that a process has had resident."""
    return _read(pid, "VmHWM")


def _read(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    raise AssertionError(f"The system tells no {name} of process {pid}.")
