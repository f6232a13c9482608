"""Arrays of any size: they may be changed where they arrive, and by processes that are forked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fal_core import function
from fal_host_local import LocalHost
from fal_testing.harness.processes import wait_until

numpy = pytest.importorskip("numpy")

#: Bytes: the last that travels in the pickle, the first that travels beside it, and more
#: than one mapping of an arena has.
SIZES = (65_528, 65_536, 40 << 20)


@pytest.fixture
def alone() -> Iterator[LocalHost]:
    host = LocalHost()
    yield host
    host.close()


def worker_of(host: LocalHost) -> Any:
    """Return the only worker of *host*."""
    (pool,) = host._pools.pools.values()
    (worker,) = pool._roster.workers
    return worker


@pytest.mark.parametrize("size", SIZES)
def test_arrays_may_be_changed_in_place(host: LocalHost, size: int):
    """That holds in the function and in its caller, and the sender's array stays as it is."""

    @function("current", host=host)
    def add(array: Any, number: int) -> Any:
        array += number
        return {"sum": array, "again": [array]}

    mine = numpy.zeros(size // 8)
    for number in range(1, 4):
        answer = add(mine, number)
        result = answer["sum"]
        assert result.flags.writeable
        assert answer["again"][0] is result
        result *= 2
        assert (result[0], result[-1]) == (2 * number, 2 * number)
        assert not mine.any()


@pytest.mark.parametrize("size", SIZES[:2])
def test_an_array_that_is_given_with_every_item_is_many(host: LocalHost, size: int):
    """Many items of a map are sent together, and none finds what another has changed."""

    @function("current", host=host)
    def add(array: Any) -> Any:
        import sys

        array += 1
        kept = sys.__dict__.setdefault("kept for a test of maps", {})
        return array.max(), kept.setdefault(array.size, array)

    array = numpy.zeros(size // 8)
    results = list(add.map([array] * 200))
    assert {largest for largest, _ in results} == {1.0}
    for number, (_, kept) in enumerate(results):
        kept += number
    assert [kept[-1] for _, kept in results] == [1.0 + number for number in range(200)]


@pytest.mark.parametrize("size", SIZES)
def test_an_array_that_is_read_only_arrives_so(host: LocalHost, size: int):
    """Arrays are as the sender has them, as if they had been pickled."""

    @function("current", host=host)
    def freeze(array: Any) -> Any:
        frozen = not array.flags.writeable
        array = numpy.ones(array.size)
        array.flags.writeable = False
        return frozen, array

    mine = numpy.zeros(size // 8)
    mine.flags.writeable = False
    frozen, array = freeze(mine)
    assert frozen
    assert not array.flags.writeable


def test_arrays_that_are_sent_through_the_stream_may_be_changed(host: LocalHost):
    """Where shared memory has no room for them, arrays are sent as other values are."""
    same = function("current", host=host, max_concurrency=1)(lambda array: array)
    array = numpy.zeros(1 << 20)
    same(array)
    for pool in host._pools.pools.values():
        for worker in pool._roster.workers:
            worker._stream.outbound.capacity = 0
    result = same(numpy.ones(5 << 20))
    result += 1
    assert result.sum() == 10 << 20


def test_arrays_that_were_kept_for_later_may_be_changed(
    host: LocalHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Results of detached work come from a file, and belong to whoever opens them."""
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path))
    make = function("current", host=host)(lambda: numpy.zeros(1 << 20))
    spawned = make.with_policy(lifetime="detached").spawn()
    result = spawned.future.result(timeout=60)
    result += 1
    assert result.sum() == 1 << 20


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_memory_is_not_given_back_under_a_forked_process(alone: LocalHost):
    """
    A process that the caller has forked reads its arrays after the worker has been idle, and
    their memory is given back once it has ended.
    """
    make = function("current", host=alone, max_concurrency=1)(
        lambda number: numpy.full(1 << 20, number)
    )
    array = make(1)
    worker = worker_of(alone)
    (told, tell), (wait, go) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.close(go)
        os.read(wait, 1)
        os.write(tell, b"y" if (array == 1).all() else b"n")
        os._exit(0)
    os.close(wait)
    os.close(tell)
    del array
    assert make(2).sum() == 2 << 20
    # The worker has handled a request to trim once it has answered the next call.
    worker.trim()
    assert make(3).sum() == 3 << 20
    os.close(go)
    assert os.read(told, 1) == b"y"
    os.close(told)
    os.waitpid(child, 0)
    assert wait_until(lambda: not worker.trim(), 60)


def test_processes_that_a_function_forks_share_its_arrays(alone: LocalHost):
    """
    A pool of processes that outlives a call reads and changes the arrays of that call, while
    later calls bring others.
    """

    @function("current", host=alone, max_concurrency=1)
    def begin(array: Any) -> None:
        import multiprocessing
        import sys

        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()

        def serve() -> None:
            while True:
                change = theirs.recv()
                array[:100] += change
                theirs.send((float(array.min()), float(array.max())))

        process = context.Process(target=serve, daemon=True)
        process.start()
        sys.__dict__["kept for a test"] = ours, process

    @function("current", host=alone, max_concurrency=1)
    def ask(array: Any, change: float) -> Any:
        import sys

        ours, _ = sys.__dict__["kept for a test"]
        ours.send(change)
        return ours.recv(), array.sum()

    begin(numpy.ones(1 << 20))
    for number in range(5):
        answer = ask(numpy.full(1 << 20, 7.0), 1.0)
        assert answer == ((1.0, 2.0 + number), 7 << 20)
