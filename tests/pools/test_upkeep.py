"""Upkeep of idle workers."""

from __future__ import annotations

import os
import time

import pytest

from fal_core import function
from fal_testing.harness.processes import is_alive, wait_until


def get_pid() -> int:
    return os.getpid()


def test_workers_that_have_ended_leave_nothing_open(host):
    """The descriptors of a worker are closed once it has been idle for too long."""
    isolated = function("current", host=host, keep_alive=0.05)(get_pid)

    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    def call() -> None:
        isolated()
        assert wait_until(lambda: not host.worker_count, 30)

    call()
    assert wait_until(lambda: host.worker_count == 0, 30)
    # What the last worker held is closed a moment after it has ended.
    time.sleep(0.2)
    before = open_files()
    for _ in range(5):
        call()

    assert wait_until(lambda: open_files() <= before, 30)


def test_an_idle_worker_ends_after_keep_alive(host):
    """``keep_alive`` is how long a worker stays warm without a call."""
    isolated = function("current", host=host, keep_alive=0.2)(get_pid)

    pid = isolated()

    assert wait_until(lambda: not is_alive(pid), 30)
    assert wait_until(lambda: host.worker_count == 0, 30)
    assert isolated() != pid


def test_min_concurrency_outlives_keep_alive(host):
    """``min_concurrency`` workers stay warm however long they are idle."""
    isolated = function("current", host=host, keep_alive=0.1, min_concurrency=1)(get_pid)

    pid = isolated()
    # Longer than its keep_alive: it must not end meanwhile.
    time.sleep(0.5)

    assert isolated() == pid


def shared_files() -> dict[int, int]:
    """Return how many bytes each file of shared memory of this process takes, by its inode."""
    sizes = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            if "memfd:fal-core" in os.readlink(f"/proc/self/fd/{name}"):
                status = os.stat(f"/proc/self/fd/{name}")
                sizes[status.st_ino] = status.st_blocks * 512
        except FileNotFoundError:
            pass
    return sizes


def test_shared_memory_of_idle_workers_is_given_back(host):
    """A worker that is idle for some seconds keeps no shared memory."""
    numpy = pytest.importorskip("numpy")
    # Hosts of other tests may still hold some.
    others = shared_files()

    def held() -> int:
        return sum(size for inode, size in shared_files().items() if inode not in others)

    same = function("current", host=host)(lambda array: array)
    array = same(numpy.ones(1 << 20))
    # What is still looked at is given back by nobody.
    assert held() > 1 << 20
    total = float(array.sum())
    del array

    assert total == 1 << 20
    assert wait_until(lambda: held() < 1 << 20, 30)
    assert float(same(numpy.ones(1 << 20)).sum()) == total
