"""
Calls in warm workers: setups, limits, shared memory.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from fal_core import Cancelled, Timeout, function
from fal_core.testing.harness.processes import wait_until


def sleep(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def test_setup_runs_once_in_a_worker(host, tmp_path: Path):
    """
    ``setup_function`` runs once per worker; its result is the first argument.
    """
    log = tmp_path / "log"

    def load() -> dict[str, int]:
        with open(log, "a") as file:
            file.write("loaded\n")
        return {"calls": 0}

    @function("current", host=host, setup_function=load)
    def count(state: dict[str, int], step: int) -> int:
        state["calls"] += step
        return state["calls"]

    assert [count(1), count(2), count(3)] == [1, 3, 6]
    assert log.read_text() == "loaded\n"


def test_a_setup_that_raises_is_the_error_of_the_call(host):
    """
    An exception of ``setup_function`` arrives unchanged.
    """

    def load() -> None:
        raise LookupError("no model")

    isolated = function("current", host=host, setup_function=load)(lambda state: 1)

    with pytest.raises(LookupError, match="no model"):
        isolated()


def test_a_call_that_takes_too_long_is_ended(host):
    """
    A timeout ends the call, and its worker serves the next one.
    """
    options = {"max_concurrency": 1, "timeout": 0.3}
    # After the grace its worker would be killed.
    isolated = function("current", host=host, grace=60, **options)(sleep)
    in_time = isolated.with_policy(timeout=None)
    pid = in_time(0)

    with pytest.raises(Timeout, match=r"0\.3 s"):
        isolated(300)
    with pytest.raises(Timeout):
        isolated.submit(300).result(timeout=60)
    assert in_time(0) == pid


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
    Large buffers come through shared memory, are read-only, and keep their values as long
    as they are referenced.
    """
    numpy = pytest.importorskip("numpy")
    double = function("current", host=host)(lambda array: array * 2)

    results = [double(numpy.full(200_000, number)) for number in range(40)]

    assert [int(result[-1]) for result in results] == [2 * number for number in range(40)]
    assert not results[0].flags.writeable


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
