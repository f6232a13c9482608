"""
Identities: which process a function ran in, and whether it lives, as other calls see it.

A number alone is no identity: with a pid namespace for each worker, each has the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from fal_testing.harness.marks import Isolated
from fal_testing.harness.processes import wait_until

#: Why a law cannot tell whether processes have ended.
HIDDEN = (
    "Later calls do not see the processes of earlier ones: a pid namespace hides them, or they "
    "are on another machine."
)


def make_identify() -> Callable[..., str]:
    """
    Return a function that names this process, or another of its machine, in one line.

    The name holds its number, when it started, and the pid namespace of who asks.
    """

    # A function made here travels by value: the worker needs none of our modules.
    def identify(pid: int | None = None) -> str:
        import os

        pid = os.getpid() if pid is None else pid
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                started = file.read().rpartition(b")")[2].split()[19].decode()
            namespace = os.readlink("/proc/self/ns/pid").replace(" ", "")
        except OSError:
            started = namespace = "unknown"
        return f"{pid} {started} {namespace}"

    return identify


def make_start_children() -> Callable[[Callable[[], object], float], None]:
    """
    Return a function that forks a child, one in a session of its own, and an orphan in one.

    Each calls what it is given, and lives on for some seconds; the function returns once all
    have called it.
    """

    def start_children(begin: Callable[[], object], seconds: float) -> None:
        import os
        import time

        readers = []
        for session, twice in ((False, False), (True, False), (True, True)):
            reader, writer = os.pipe()
            readers.append(reader)
            if not os.fork():
                if session:
                    os.setsid()
                if twice and os.fork():
                    os._exit(0)
                begin()
                os.write(writer, b"1")
                time.sleep(seconds)
                os._exit(0)
        for reader in readers:
            os.read(reader, 1)

    return start_children


def make_living() -> Callable[[Sequence[str]], tuple[list[str], list[str]]]:
    """
    Return a function that lists which of some processes live on its machine, and which of
    them are hidden from it.
    """

    def living(processes: Sequence[str]) -> tuple[list[str], list[str]]:
        import os

        try:
            here = os.readlink("/proc/self/ns/pid").replace(" ", "")
        except OSError:
            here = ""
        alive, hidden = [], []
        for process in processes:
            pid, started, namespace = process.split()
            if namespace != here:
                hidden.append(process)
                continue
            try:
                with open(f"/proc/{pid}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            # The numbers of processes and namespaces are given again.
            if fields[0] not in (b"Z", b"X") and fields[19].decode() == started:
                alive.append(process)
        return alive, hidden

    return living


def still_living(isolated: Isolated, processes: Sequence[str], seconds: float) -> list[int]:
    """
    Wait until *processes* have ended, and return the numbers of those that still live after
    *seconds*.

    The law is skipped where later calls do not see them.
    """
    living = isolated()(make_living())
    alive: list[str] = []
    hidden: list[str] = []

    def have_ended() -> bool:
        nonlocal alive, hidden
        alive, hidden = living(processes)
        return not alive

    if not processes:
        pytest.skip(HIDDEN)
    wait_until(have_ended, seconds)
    if hidden and not alive:
        pytest.skip(HIDDEN)
    return [number_of(process) for process in alive]


def number_of(process: str) -> int:
    """Return the number of a process that ``identify`` has named."""
    return int(process.partition(" ")[0])


def started_at(process: str) -> float:
    """
    Return when a process that ``identify`` has named started, in ticks since its machine did.

    The law is skipped where that is unknown.
    """
    started = process.split()[1]
    if not started.isdecimal():
        pytest.skip(HIDDEN)
    return float(started)
