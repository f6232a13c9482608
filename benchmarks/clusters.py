"""
Clusters: calls on two nodes of Ray, beside Ray's own tasks and actors there.

All contestants of a figure share one cluster, which runs on this machine.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.arrays import call_exchange, exchange_measure
from benchmarks.calls import increment, median_call, peer
from benchmarks.figures import FAL_CORE, Contestant, Figure, Goal, Measure

#: Small packages, of which any three are an environment.
SMALL = ("six", "idna", "toolz", "tomli", "zipp", "iniconfig", "certifi", "colorama", "mpmath")

_new = itertools.combinations(SMALL, 3)


@contextmanager
def on_cluster() -> Iterator[Any]:
    """Have the cluster of this benchmark, and yield a description of it."""
    from fal_host_ray.testing import shared_cluster

    folder = Path(tempfile.gettempdir()) / f"fal-ray-{os.getppid()}"
    with shared_cluster(sys.executable, folder) as cluster:
        os.environ.update(cluster.variables, FAL_RAY_PYTHON=sys.executable)
        yield cluster


@contextmanager
def fal_function(function: Callable[..., Any], **options: Any) -> Iterator[Any]:
    """Have *function* as one that runs on the cluster."""
    import fal_core
    from fal_host_ray import RayHost

    with on_cluster() as cluster:
        host = RayHost(cluster.address)
        yield fal_core.function("virtualenv", host=host, keep_alive=600, **options)(function)
        host.close()


@contextmanager
def ray_itself() -> Iterator[Any]:
    """Have Ray, connected to the cluster."""
    with on_cluster() as cluster:
        ray = peer("ray")
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        yield ray
        ray.shutdown()


@contextmanager
def warm_fal_core(count: int) -> Iterator[Measure]:
    """Call a function in a warm worker."""
    with fal_function(increment, max_concurrency=1) as isolated:
        assert isolated(1) == 2
        yield lambda: median_call(isolated, count)


@contextmanager
def warm_actor(count: int) -> Iterator[Measure]:
    """Call a method of an actor."""
    with ray_itself() as ray:
        actor = ray.remote(num_cpus=1)(_Actor).remote()

        def call(number: int) -> int:
            return int(ray.get(actor.run.remote(increment, number)))

        call(1)
        yield lambda: median_call(call, count)


@contextmanager
def warm_task(count: int) -> Iterator[Measure]:
    """Run a task."""
    with ray_itself() as ray:
        task = ray.remote(num_cpus=1)(increment)

        def call(number: int) -> int:
            return int(ray.get(task.remote(number)))

        call(1)
        yield lambda: median_call(call, count)


class _Actor:
    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)


@contextmanager
def first_fal_core() -> Iterator[Measure]:
    """Call a function in an environment that nobody has built."""
    with fal_function(increment, max_concurrency=1) as isolated:
        assert isolated(1) == 2

        def measure() -> float:
            function = isolated.on(requirements=list(next(_new)), keep_alive=1)
            began = perf_counter()
            assert function(1) == 2
            return perf_counter() - began

        yield measure


@contextmanager
def first_ray(builder: str) -> Iterator[Measure]:
    """Run a task in such a ``runtime_env``, which *builder* makes."""
    with ray_itself() as ray:
        task = ray.remote(num_cpus=1)(increment)
        assert ray.get(task.remote(1)) == 2

        def measure() -> float:
            own = task.options(runtime_env={builder: list(next(_new))})
            began = perf_counter()
            assert ray.get(own.remote(1)) == 2
            return perf_counter() - began

        yield measure


def meet(folder: str, count: int) -> int:
    """Wait until *count* processes are here, and return how many are."""
    place = os.path.join(folder, os.urandom(8).hex())
    with open(place, "w"):
        pass
    while len(os.listdir(folder)) < count:
        time.sleep(0.02)
    return len(os.listdir(folder))


@contextmanager
def many_fal_core(count: int) -> Iterator[Measure]:
    """Call a function in so many workers at once, in an environment that nobody has built."""
    with fal_function(meet, max_concurrency=count, scaling_delay=0) as isolated:
        with tempfile.TemporaryDirectory() as folder:
            assert isolated(folder, 1) == 1

        def measure() -> float:
            function = isolated.on(requirements=list(next(_new)), keep_alive=0)
            with tempfile.TemporaryDirectory() as folder:
                began = perf_counter()
                futures = [function.submit(folder, count) for _ in range(count)]
                assert {future.result() for future in futures} == {count}
                return perf_counter() - began

        yield measure


@contextmanager
def many_ray(count: int) -> Iterator[Measure]:
    """Run so many tasks at once in such a ``runtime_env`` of uv."""
    with ray_itself() as ray:
        task = ray.remote(num_cpus=1)(meet)

        def measure() -> float:
            own = task.options(runtime_env={"uv": list(next(_new))})
            with tempfile.TemporaryDirectory() as folder:
                began = perf_counter()
                assert set(ray.get([own.remote(folder, count) for _ in range(count)])) == {
                    count
                }
                return perf_counter() - began

        yield measure


@contextmanager
def array_fal_core(size: int) -> Iterator[Measure]:
    """Give an array to a function in a warm worker, and get one back."""
    import numpy

    requirements = [f"numpy=={numpy.__version__}"]
    with fal_function(call_exchange, max_concurrency=1, requirements=requirements) as isolated:
        measure = exchange_measure(isolated, size)
        measure()
        yield measure


@contextmanager
def array_actor(size: int) -> Iterator[Measure]:
    """Give an array to an actor, and get one back."""
    with ray_itself() as ray:
        actor = ray.remote(num_cpus=1)(_Actor).remote()
        run: Any = actor.run
        measure = exchange_measure(
            lambda array: ray.get(run.remote(call_exchange, array)), size
        )
        measure()
        yield measure


@contextmanager
def many_calls_fal_core(count: int) -> Iterator[Measure]:
    """Submit so many calls, which run on both nodes."""
    with fal_function(increment, max_concurrency=4) as isolated:

        def measure() -> float:
            began = perf_counter()
            futures = [isolated.submit(number) for number in range(count)]
            assert sum(future.result() for future in futures) == sum(range(count + 1))
            return count / (perf_counter() - began)

        measure()
        yield measure


@contextmanager
def many_calls_ray(count: int) -> Iterator[Measure]:
    """Run so many tasks, on both nodes."""
    with ray_itself() as ray:
        task = ray.remote(num_cpus=1, scheduling_strategy="SPREAD")(increment)

        def measure() -> float:
            began = perf_counter()
            results = ray.get([task.remote(number) for number in range(count)])
            assert sum(results) == sum(range(count + 1))
            return count / (perf_counter() - began)

        measure()
        yield measure


def _contestant(name: str, target: str, *needs: str, **settings: Any) -> Contestant:
    return Contestant(
        name=name,
        target=f"benchmarks.clusters:{target}",
        settings=settings,
        role="fal-core" if name == FAL_CORE else "peer",
        needs=("ray", "fal_host_ray", *needs),
        pinned=False,
    )


def figures(*, quick: bool) -> list[Figure]:
    """Return the figures of this theme."""
    calls = 200 if quick else 2000
    size = (16 if quick else 256) << 20
    workers = 4 if quick else 32
    return [
        Figure(
            name="ray-call",
            title="a warm call on a Ray cluster, median",
            unit="µs",
            contestants=(
                _contestant(FAL_CORE, "warm_fal_core", count=calls),
                _contestant("Ray actor", "warm_actor", count=calls),
                _contestant("Ray task", "warm_task", count=calls),
            ),
            goals=(Goal(against="Ray actor", factor=1.3),),
        ),
        Figure(
            name="ray-first",
            title="the first call in a new environment of three packages, cluster warm",
            unit="s",
            contestants=(
                _contestant(FAL_CORE, "first_fal_core"),
                _contestant("Ray runtime_env, uv", "first_ray", "pip", builder="uv"),
                _contestant("Ray runtime_env, pip", "first_ray", "pip", builder="pip"),
            ),
            goals=(Goal(plus=1.2),),
        ),
        Figure(
            name="ray-workers",
            title=f"{workers} workers that need one new environment",
            unit="s",
            contestants=(
                _contestant(FAL_CORE, "many_fal_core", count=workers),
                _contestant("Ray runtime_env, uv", "many_ray", "pip", count=workers),
            ),
            goals=(Goal(against="Ray runtime_env, uv", factor=0.25),),
        ),
        Figure(
            name="ray-array",
            title=f"{size >> 20} MiB NumPy array to a Ray cluster, one of that size back, warm",
            unit="ms",
            contestants=(
                _contestant(FAL_CORE, "array_fal_core", "numpy", size=size),
                _contestant("Ray actor", "array_actor", "numpy", size=size),
            ),
            goals=(Goal(against="Ray actor", factor=2.2),),
        ),
        Figure(
            name="ray-calls",
            title="calls at once over two nodes of Ray",
            unit="calls/s",
            contestants=(
                _contestant(FAL_CORE, "many_calls_fal_core", count=1000),
                _contestant("Ray tasks", "many_calls_ray", count=1000),
            ),
            goals=(Goal(against="Ray tasks", factor=0.9, at_least=True),),
        ),
    ]
