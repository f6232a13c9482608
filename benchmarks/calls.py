"""Calls: one at a time, many at once, and a map."""

from __future__ import annotations

import importlib
import os
import pickle
import selectors
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks.figures import BEST, FAL_CORE, Contestant, Figure, Goal, Measure

_LENGTH = struct.Struct("<I")


def increment(x: int) -> int:
    """The function that is called."""
    return x + 1


def peer(module: str) -> Any:
    """Import a peer, which not everyone has."""
    return importlib.import_module(module)


def isolated(**options: Any) -> Any:
    """Return the function as fal-core calls it, already called once."""
    from fal_core import function

    isolated = function("current", host="local", **options)(increment)
    assert isolated(1) == 2
    return isolated


def median_call(call: Callable[[int], int], count: int) -> float:
    """Return the median seconds of a call."""
    times = []
    for number in range(count):
        began = perf_counter()
        answer = call(number)
        times.append(perf_counter() - began)
        assert answer == number + 1
    return median(times)


def _rate(run: Callable[[int], int], count: int) -> float:
    """Return calls per second of *run*, which makes *count* and returns the sum."""
    began = perf_counter()
    total = run(count)
    seconds = perf_counter() - began
    assert total == count * (count + 1) // 2, "a result was lost, or came twice"
    return count / seconds


# -- one call at a time ----------------------------------------------------------


@contextmanager
def warm_fal_core(count: int) -> Iterator[Measure]:
    """Call an isolated function in a warm worker."""
    function = isolated(max_concurrency=1, keep_alive=600)
    yield lambda: median_call(function, count)


@contextmanager
def warm_pipe(count: int) -> Iterator[Measure]:
    """Send a number through a ``multiprocessing.Pipe`` and read it back."""
    import multiprocessing

    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_echo, args=(theirs,), daemon=True)
    process.start()
    theirs.close()

    def call(number: int) -> int:
        ours.send(number)
        answer: int = ours.recv()
        return answer + 1

    yield lambda: median_call(call, count)
    ours.close()
    process.kill()


def _echo(connection: Any) -> None:
    while True:
        connection.send(connection.recv())


@contextmanager
def warm_pool(count: int) -> Iterator[Measure]:
    """Submit to a ``ProcessPoolExecutor`` of one worker and wait."""
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(1) as pool:
        yield lambda: median_call(lambda x: pool.submit(increment, x).result(), count)


@contextmanager
def warm_loky(count: int) -> Iterator[Measure]:
    """Submit to a loky executor of one worker and wait."""
    pool = peer("loky").get_reusable_executor(max_workers=1, timeout=600)
    pool.submit(increment, 1).result()
    yield lambda: median_call(lambda x: pool.submit(increment, x).result(), count)
    pool.shutdown(kill_workers=True)


@contextmanager
def ray_cluster() -> Iterator[Any]:
    """Start a Ray of two processors, and end it."""
    ray = peer("ray")
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=2 << 30,
    )
    try:
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def warm_ray(count: int) -> Iterator[Measure]:
    """Call a method of a Ray actor and wait."""

    class Actor:
        def increment(self, x: int) -> int:
            return x + 1

    with ray_cluster() as ray:
        actor = ray.remote(Actor).remote()

        def call(number: int) -> int:
            answer: int = ray.get(actor.increment.remote(number))
            return answer

        call(1)
        yield lambda: median_call(call, count)


@contextmanager
def warm_fal(count: int) -> Iterator[Measure]:
    """Call a function of fal on its ``LocalHost``, environment built."""
    fal = peer("fal")

    def increment(x: int) -> int:
        return x + 1

    options: Any = {"requirements": []}
    function: Any = fal.function("virtualenv", host=fal.api.LocalHost(), **options)(increment)
    function(1)
    yield lambda: median_call(function, count)


# -- many calls at once ----------------------------------------------------------


@contextmanager
def submit_fal_core(count: int) -> Iterator[Measure]:
    """Submit to two workers and wait for all results."""
    function = isolated(max_concurrency=2, min_concurrency=2, keep_alive=600)

    def run(count: int) -> int:
        futures = [function.submit(number) for number in range(count)]
        return sum(future.result() for future in futures)

    run(count)
    yield lambda: _rate(run, count)


@contextmanager
def submit_pool(count: int) -> Iterator[Measure]:
    """The same with a ``ProcessPoolExecutor``."""
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(2) as pool:
        yield from _submit(pool.submit, count)


@contextmanager
def submit_loky(count: int) -> Iterator[Measure]:
    """The same with loky."""
    pool = peer("loky").get_reusable_executor(max_workers=2, timeout=600)
    yield from _submit(pool.submit, count)
    pool.shutdown(kill_workers=True)


@contextmanager
def submit_dask(count: int) -> Iterator[Measure]:
    """The same with two Dask workers of one thread each."""
    distributed = peer("distributed")
    options: Any = {"threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with (
        distributed.LocalCluster(2, **options) as cluster,
        distributed.Client(cluster) as client,
    ):

        def submit(function: Callable[[int], int], number: int) -> Any:
            return client.submit(function, number, pure=False)

        yield from _submit(submit, count)


@contextmanager
def submit_ray(count: int) -> Iterator[Measure]:
    """The same with Ray tasks on two processors."""
    with ray_cluster() as ray:
        task = ray.remote(increment)

        def run(count: int) -> int:
            return sum(ray.get([task.remote(number) for number in range(count)]))

        run(min(count, 200))
        yield lambda: _rate(run, count)


def _submit(submit: Callable[..., Any], count: int) -> Iterator[Measure]:
    def run(count: int) -> int:
        futures = [submit(increment, number) for number in range(count)]
        return sum(future.result() for future in futures)

    run(min(count, 200))
    yield lambda: _rate(run, count)


@contextmanager
def submit_sockets(count: int) -> Iterator[Measure]:
    """Send each call as a pickle of its own to one of two workers, and read answers."""
    ends = [_start_socket_worker() for _ in range(2)]
    yield lambda: _rate(lambda count: _call_over(ends, count), count)
    for end in ends:
        end.close()


def _call_over(ends: list[socket.socket], count: int) -> int:
    selector = selectors.DefaultSelector()
    for end in ends:
        selector.register(end, selectors.EVENT_READ, bytearray())
    total = answered = 0
    number = 0
    while answered < count:
        # No more under way than the sockets hold, whoever waits for whom.
        while number < count and number - answered < 500:
            _send(ends[number & 1], (number,))
            number += 1
        for key, _ in selector.select():
            readable: Any = key.fileobj
            for answer in _receive(readable, key.data):
                total += answer
                answered += 1
    selector.close()
    return total


def _start_socket_worker() -> socket.socket:
    ours, theirs = socket.socketpair()
    if not os.fork():
        ours.close()
        rest = bytearray()
        while True:
            calls = list(_receive(theirs, rest))
            if not calls:
                os._exit(0)
            for arguments in calls:
                _send(theirs, increment(*arguments))
    theirs.close()
    return ours


def _send(end: socket.socket, value: Any) -> None:
    data = pickle.dumps(value, 5)
    end.sendall(_LENGTH.pack(len(data)) + data)


def _receive(end: socket.socket, rest: bytearray) -> Iterator[Any]:
    rest += end.recv(65536)
    at = 0
    while len(rest) - at >= 4:
        (length,) = _LENGTH.unpack_from(rest, at)
        if len(rest) - at < 4 + length:
            break
        yield pickle.loads(rest[at + 4 : at + 4 + length])
        at += 4 + length
    del rest[:at]


# -- a map -----------------------------------------------------------------------


@contextmanager
def map_fal_core(count: int) -> Iterator[Measure]:
    """Map over *count* numbers; no chunk size is chosen."""
    function = isolated(max_concurrency=2, min_concurrency=2, keep_alive=600)
    run = _map(function.map)
    run(count)
    yield lambda: _rate(run, count)


@contextmanager
def map_pool(count: int, chunksize: int) -> Iterator[Measure]:
    """The same with ``ProcessPoolExecutor.map`` and a chunk size."""
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(2) as pool:
        run = _map(lambda numbers: pool.map(increment, numbers, chunksize=chunksize))
        run(count)
        yield lambda: _rate(run, count)


def _map(mapped: Callable[[range], Any]) -> Callable[[int], int]:
    return lambda count: sum(mapped(range(count)))


def figures(*, quick: bool) -> list[Figure]:
    """Return the figures of this theme."""
    here = "benchmarks.calls:"
    many, some = (200, 50) if quick else (2000, 400)
    calls, items = (500, 10_000) if quick else (5000, 100_000)
    ray: dict[str, Any] = {"needs": ("ray",), "private": True}
    return [
        Figure(
            name="warm-call",
            title="a warm call of x + 1, median",
            unit="µs",
            note=f"{many:,} calls a round; Ray {some:,}; fal 3, each a new process",
            contestants=(
                Contestant(
                    name=FAL_CORE,
                    target=here + "warm_fal_core",
                    settings={"count": many},
                    role="fal-core",
                ),
                Contestant(
                    name="multiprocessing.Pipe, an echo",
                    target=here + "warm_pipe",
                    settings={"count": many},
                    role="reference",
                ),
                Contestant(
                    name="ProcessPoolExecutor",
                    target=here + "warm_pool",
                    settings={"count": many},
                ),
                Contestant(
                    name="loky",
                    target=here + "warm_loky",
                    settings={"count": many},
                    needs=("loky",),
                ),
                Contestant(
                    name="Ray actor", target=here + "warm_ray", settings={"count": some}, **ray
                ),
                Contestant(
                    name="fal LocalHost",
                    target=here + "warm_fal",
                    settings={"count": 3},
                    needs=("fal",),
                    pinned=False,
                ),
            ),
            goals=(
                Goal(against="multiprocessing.Pipe, an echo", factor=1.6),
                Goal(against="ProcessPoolExecutor", factor=0.5),
            ),
        ),
        Figure(
            name="submit",
            title=f"{calls:,} submitted calls, two workers",
            unit="calls/s",
            contestants=(
                Contestant(
                    name=FAL_CORE,
                    target=here + "submit_fal_core",
                    settings={"count": calls},
                    role="fal-core",
                ),
                Contestant(
                    name="ProcessPoolExecutor",
                    target=here + "submit_pool",
                    settings={"count": calls},
                ),
                Contestant(
                    name="loky",
                    target=here + "submit_loky",
                    settings={"count": calls},
                    needs=("loky",),
                ),
                Contestant(
                    name="Ray", target=here + "submit_ray", settings={"count": calls}, **ray
                ),
                Contestant(
                    name="Dask",
                    target=here + "submit_dask",
                    settings={"count": calls},
                    needs=("distributed",),
                ),
                Contestant(
                    name="bare sockets",
                    target=here + "submit_sockets",
                    settings={"count": calls},
                    role="reference",
                ),
            ),
            goals=(Goal(against=BEST, factor=2.5, at_least=True),),
        ),
        Figure(
            name="map",
            title=f"a map of {items:,} calls, two workers",
            unit="calls/s",
            note="the peer is told a chunk size, fal-core is not",
            contestants=(
                Contestant(
                    name=FAL_CORE,
                    target=here + "map_fal_core",
                    settings={"count": items},
                    role="fal-core",
                ),
                Contestant(
                    name="ProcessPoolExecutor, chunks of 64",
                    target=here + "map_pool",
                    settings={"count": items, "chunksize": 64},
                ),
            ),
            goals=(
                Goal(against="ProcessPoolExecutor, chunks of 64", factor=0.5, at_least=True),
            ),
        ),
    ]
