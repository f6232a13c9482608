"""Executors: one call at a time, many at once, a map, and jobs of joblib."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from benchmarks.calls import increment, median_call, peer
from benchmarks.figures import BEST, FAL_CORE, Contestant, Figure, Goal, Measure

#: What one of the peers is told about a map.
CHUNK = 64


def make_fal_core(workers: int) -> Any:
    """Return an executor of fal-core."""
    from fal_core import Executor

    return Executor(
        "current",
        host="local",
        max_workers=workers,
        min_concurrency=workers,
        keep_alive=600,
    )


def make_pool(workers: int) -> Any:
    """Return a ``ProcessPoolExecutor``."""
    from concurrent.futures import ProcessPoolExecutor

    return ProcessPoolExecutor(workers)


def make_loky(workers: int) -> Any:
    """Return an executor of loky."""
    return peer("loky").ProcessPoolExecutor(workers, timeout=600)


MAKERS: dict[str, Callable[[int], Any]] = {
    "fal-core": make_fal_core,
    "pool": make_pool,
    "loky": make_loky,
}


@contextmanager
def warm(maker: str, count: int) -> Iterator[Measure]:
    """Submit one call after the other to one worker."""
    with MAKERS[maker](1) as pool:
        pool.submit(increment, 1).result()
        yield lambda: median_call(lambda x: pool.submit(increment, x).result(), count)


@contextmanager
def submitted(maker: str, count: int) -> Iterator[Measure]:
    """Submit *count* calls to two workers, and wait for all of them."""
    with MAKERS[maker](2) as pool:

        def run(numbers: range) -> int:
            futures = [pool.submit(increment, number) for number in numbers]
            return sum(future.result() for future in futures)

        run(range(min(count, 200)))
        yield lambda: _rate(run, count)


@contextmanager
def mapped(maker: str, count: int, chunksize: int) -> Iterator[Measure]:
    """Map over *count* numbers with two workers."""
    with MAKERS[maker](2) as pool:

        def run(numbers: range) -> int:
            return sum(pool.map(increment, numbers, chunksize=chunksize))

        run(range(count))
        yield lambda: _rate(run, count)


@contextmanager
def jobs(backend: str, count: int) -> Iterator[Measure]:
    """Run *count* jobs of joblib with two workers."""
    joblib = peer("joblib")
    if backend == "fal-core":
        from fal_core import register_joblib_backend

        options: Any = {"host": "local", "min_concurrency": 2, "keep_alive": 600}
        register_joblib_backend(backend, "current", **options)

    def run(numbers: range) -> int:
        return sum(joblib.Parallel()(joblib.delayed(increment)(number) for number in numbers))

    with joblib.parallel_config(backend=backend, n_jobs=2):
        # It finds out meanwhile how many jobs should travel together.
        run(range(count))
        yield lambda: _rate(run, count)


def _rate(run: Callable[[range], int], count: int) -> float:
    began = perf_counter()
    total = run(range(count))
    seconds = perf_counter() - began
    assert total == count * (count + 1) // 2, "a result was lost, or came twice"
    return count / seconds


def figures(*, quick: bool) -> list[Figure]:
    """Return the figures of this theme."""
    many = 200 if quick else 2000
    calls, items = (500, 2_000) if quick else (5000, 20_000)
    return [
        Figure(
            name="executor-call",
            title="a call of x + 1 by an executor, one at a time, median",
            unit="µs",
            note=f"{many:,} calls a round",
            contestants=_contestants("warm", count=many),
            goals=(Goal(against="ProcessPoolExecutor", factor=1.5),),
        ),
        Figure(
            name="executor-submit",
            title=f"{calls:,} calls submitted to an executor of two workers",
            unit="calls/s",
            contestants=_contestants("submitted", count=calls),
            goals=(Goal(against=BEST, factor=4.0, at_least=True),),
        ),
        Figure(
            name="executor-map",
            title=f"a map of an executor over {items:,} numbers, two workers",
            unit="calls/s",
            note=f"one of them is told chunks of {CHUNK}, and makes as many fewer futures",
            contestants=(
                *_contestants("mapped", count=items, chunksize=1),
                Contestant(
                    name=f"ProcessPoolExecutor, chunks of {CHUNK}",
                    target="benchmarks.executors:mapped",
                    settings={"maker": "pool", "count": items, "chunksize": CHUNK},
                    role="reference",
                ),
            ),
            goals=(Goal(against=BEST, factor=3.0, at_least=True),),
        ),
        Figure(
            name="executor-joblib",
            title=f"{items:,} jobs of joblib, two workers",
            unit="calls/s",
            note="joblib itself sends many jobs as one",
            contestants=(
                Contestant(
                    name=FAL_CORE,
                    target="benchmarks.executors:jobs",
                    settings={"backend": "fal-core", "count": items},
                    needs=("joblib",),
                    role="fal-core",
                ),
                Contestant(
                    name="joblib's loky",
                    target="benchmarks.executors:jobs",
                    settings={"backend": "loky", "count": items},
                    needs=("joblib",),
                ),
            ),
            goals=(Goal(against=BEST, factor=0.5, at_least=True),),
        ),
    ]


def _contestants(run: str, **settings: int) -> tuple[Contestant, ...]:
    target = f"benchmarks.executors:{run}"
    return (
        Contestant(
            name=FAL_CORE,
            target=target,
            settings={"maker": "fal-core", **settings},
            role="fal-core",
        ),
        Contestant(
            name="ProcessPoolExecutor", target=target, settings={"maker": "pool", **settings}
        ),
        Contestant(
            name="loky", target=target, settings={"maker": "loky", **settings}, needs=("loky",)
        ),
    )
