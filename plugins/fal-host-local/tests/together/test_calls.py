"""
Calls in warm workers: cancellation and shared memory.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from fal_core import Cancelled, function
from fal_core.testing.harness.processes import wait_until


def test_a_function_that_does_not_listen_is_killed(host, tmp_path: Path):
    """
    A function that an interrupt does not end is killed after the grace.
    """

    started = tmp_path / "started"

    def stubborn() -> None:
        while True:
            try:
                started.touch()
                # Ends by being killed: it outlives every interrupt.
                time.sleep(30)
            except BaseException:
                pass

    isolated = function("current", host=host)(stubborn).with_policy(grace=0.2)
    info = isolated.spawn()
    assert wait_until(started.exists, 30)
    info.cancel(grace=0.2)

    with pytest.raises(Cancelled):
        info.future.result(timeout=30)


def test_large_arrays_are_read_in_place(host):
    """
    Large buffers come through shared memory, and keep their values as long as they are
    referenced.
    """
    numpy = pytest.importorskip("numpy")
    double = function("current", host=host)(lambda array: array * 2)

    results = [double(numpy.full(200_000, number)) for number in range(40)]

    assert [int(result[-1]) for result in results] == [2 * number for number in range(40)]


def test_shared_memory_is_used_again(host):
    """
    Blocks whose views have died are used again: arenas do not grow.
    """
    numpy = pytest.importorskip("numpy")
    same = function("current", host=host)(lambda array: array)
    array = numpy.ones(1 << 20)

    def sizes() -> list[int]:
        found = []
        for name in os.listdir("/proc/self/fd"):
            try:
                if "memfd:fal-core" in os.readlink(f"/proc/self/fd/{name}"):
                    found.append(os.stat(f"/proc/self/fd/{name}").st_size)
            except FileNotFoundError:
                pass
        return found

    for _ in range(3):
        same(array)
    before = sizes()
    for _ in range(100):
        same(array)

    assert before
    # Workers of other hosts may end meanwhile, and theirs go with them.
    assert sum(sizes()) <= sum(before)
