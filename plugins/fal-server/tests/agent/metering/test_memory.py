"""Memory that is measured: of a process and of those that it has started."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from fal_server_agent.limits import drop_groups
from fal_server_agent.metering import meters
from fal_server_agent.metering.meters import measure_memory

MIB = 1 << 20

GROUPS = Path("/sys/fs/cgroup/memory/fal-core"), Path("/sys/fs/cgroup/fal-core")

#: Prints what a process uses, and what it uses together with a fork of its own.
SHARING = """
import os
from fal_server_agent.metering.meters import measure_memory

held = b"x" * (64 << 20)
alone, _ = measure_memory()
end, begin = os.pipe()
child = os.fork()
if not child:
    os.close(begin)
    os.read(end, 1)
    os._exit(0)
shared, _ = measure_memory()
os.close(begin)
os.waitpid(child, 0)
print(alone, shared)
"""


def run(source: str) -> str:
    """Run a program, and return what it prints."""
    command = [sys.executable, "-c", source]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@contextmanager
def child_with(size: int) -> Iterator[int]:
    """Run a child process with so many bytes of memory."""
    source = f"held = b'x' * {size}; print('here', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "here\n"
        yield child.pid
        child.kill()


def measured() -> int:
    size, _ = measure_memory()
    assert size is not None
    return size


def test_children_count():
    """What a child process uses is counted as long as it runs."""
    before = measured()
    with child_with(64 * MIB):
        assert measured() - before > 60 * MIB
    assert measured() - before < 30 * MIB


def test_shared_memory_counts_once():
    """Memory that a process shares with a fork of its own is counted once."""
    alone, shared = map(int, run(SHARING).split())
    assert shared - alone < 30 * MIB


def test_kernel_that_tells_little(monkeypatch: pytest.MonkeyPatch):
    """Where the kernel does not tell which memory is shared, that counts for each process."""

    def refuse(path: str, *arguments: str) -> object:
        if path.endswith("smaps_rollup"):
            raise FileNotFoundError(path)
        return open(path, *arguments)

    monkeypatch.setattr(meters, "open", refuse, raising=False)
    assert measured() > MIB


def test_process_that_is_gone_has_none():
    """A process may end while it is measured."""
    with child_with(MIB) as pid:
        pass
    assert meters._measure_process(pid) == 0


@pytest.mark.faults
def test_group_of_its_own(run_limited: Callable[[str], str]):
    """In a control group of its own, what that counts is told, with its limit."""
    size, limit = run_limited(
        "held = b'x' * (64 << 20)\n"
        "from fal_server_agent.metering.meters import measure_memory\n"
        "print(*measure_memory())"
    ).split()
    assert 64 * MIB < int(size) < 200 * MIB
    assert int(limit) == 256 * MIB


@pytest.fixture
def run_limited() -> Iterator[Callable[[str], str]]:
    """Run a program in a control group of its own with 256 MiB."""

    def run_in_group(source: str) -> str:
        name = f"metered-{os.getpid()}"
        limiting = "from fal_server_agent.limits import limit_memory"
        is_group, *told = run(
            f"{limiting}\nprint(limit_memory({256 * MIB}, {name!r}))\n{source}"
        ).splitlines()
        if is_group != "True":
            pytest.skip("This process may make no control groups.")
        return "\n".join(told)

    yield run_in_group
    drop_groups()
    for parent in GROUPS:
        with suppress(OSError):
            parent.rmdir()
