"""Arrays: a large one in, another of its size out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from benchmarks.calls import peer, ray_cluster
from benchmarks.figures import FAL_CORE, Contestant, Figure, Goal, Measure

#: A NumPy array; NumPy itself is imported by who takes part.
Array = Any


class Exchange:
    """
    The function: it looks at one element, and gives an array it has made before.

    So its own work is next to nothing, and what is measured is the way there and
    back. What it gives is filled memory, all of it, and new to the caller.
    """

    def __init__(self) -> None:
        self.kept: Array = None

    def __call__(self, array: Array) -> Array:
        import numpy

        if self.kept is None:
            self.kept = numpy.full_like(array, array[-1] + 1)
        return self.kept


exchange = Exchange()


def call_exchange(array: Array) -> Array:
    """Call the exchange of this process."""
    return exchange(array)


def exchange_measure(call: Callable[[Array], Array], size: int) -> Measure:
    """Return what measures one call with an array of *size* bytes."""
    import numpy

    array = numpy.arange(size // 8, dtype=numpy.float64)
    expected = array[-1] + 1

    def measure() -> float:
        began = perf_counter()
        answer = call(array)
        seconds = perf_counter() - began
        assert answer.shape == array.shape
        assert answer[0] == expected
        assert answer[-1] == expected
        return seconds

    return measure


def _warmed(measure: Measure, *, warm: bool) -> Measure:
    if warm:
        for _ in range(2):
            measure()
    return measure


@contextmanager
def arrays_fal_core(size: int, warm: bool) -> Iterator[Measure]:
    """Call an isolated function; its worker is started by the first call."""
    from fal_core import function

    isolated = function("current", host="local", max_concurrency=1, keep_alive=600)
    yield _warmed(exchange_measure(isolated(call_exchange), size), warm=warm)


@contextmanager
def arrays_pool(size: int, warm: bool) -> Iterator[Measure]:
    """The same with a ``ProcessPoolExecutor``."""
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(1) as pool:
        measure = exchange_measure(
            lambda array: pool.submit(call_exchange, array).result(), size
        )
        yield _warmed(measure, warm=warm)


@contextmanager
def arrays_ray(size: int, warm: bool) -> Iterator[Measure]:
    """The same with an actor of a Ray that runs already."""
    with ray_cluster() as ray:
        actor = ray.remote(Exchange).remote()

        def call(array: Array) -> Array:
            return ray.get(actor.__call__.remote(array))

        yield _warmed(exchange_measure(call, size), warm=warm)


@contextmanager
def arrays_fal(size: int, warm: bool) -> Iterator[Measure]:
    """The same with fal's ``LocalHost``, environment built; each call is a process."""
    import numpy

    fal = peer("fal")

    def exchange(array: Array) -> Array:
        import numpy

        return numpy.full_like(array, array[-1] + 1)

    requirements = [f"numpy=={numpy.__version__}"]
    options: Any = {"resolver": "uv", "requirements": requirements}
    function: Any = fal.function("virtualenv", host=fal.api.LocalHost(), **options)(exchange)
    function(numpy.arange(2.0))
    yield _warmed(exchange_measure(function, size), warm=warm)


@contextmanager
def arrays_copies(size: int, warm: bool) -> Iterator[Measure]:
    """Copy an array of that size, and the copy, in memory that is there."""
    import numpy

    first, second = numpy.zeros(size // 8), numpy.zeros(size // 8)

    def call(array: Array) -> Array:
        numpy.copyto(first, array)
        numpy.copyto(second, first)
        return second

    array = numpy.arange(size // 8, dtype=numpy.float64)

    def measure() -> float:
        began = perf_counter()
        call(array)
        return perf_counter() - began

    yield _warmed(measure, warm=warm)


def _contestants(size: int, *, warm: bool) -> tuple[Contestant, ...]:
    here = "benchmarks.arrays:arrays_"
    settings = {"size": size, "warm": warm}
    return (
        Contestant(
            name=FAL_CORE,
            target=here + "fal_core",
            settings=settings,
            role="fal-core",
            needs=("numpy",),
        ),
        Contestant(
            name="Ray actor",
            target=here + "ray",
            settings=settings,
            needs=("ray", "numpy"),
            private=True,
        ),
        Contestant(
            name="ProcessPoolExecutor",
            target=here + "pool",
            settings=settings,
            needs=("numpy",),
        ),
        Contestant(
            name="fal LocalHost",
            target=here + "fal",
            settings=settings,
            needs=("fal", "numpy"),
            pinned=False,
        ),
        Contestant(
            name="two copies in memory",
            target=here + "copies",
            settings=settings,
            needs=("numpy",),
            role="reference",
        ),
    )


def figures(*, quick: bool) -> list[Figure]:
    """Return the figures of this theme."""
    size = (16 if quick else 256) << 20
    title = f"{size >> 20} MiB NumPy array in, a new one of that size out"
    work = "the function looks at one element and gives an array filled before"
    return [
        Figure(
            name="arrays-warm",
            title=f"{title}, warm",
            unit="ms",
            note=f"{work}; after two unmeasured calls",
            contestants=_contestants(size, warm=True),
            goals=(Goal(plus=0.06),),
        ),
        Figure(
            name="arrays-first",
            title=f"{title}, the first call of a process",
            unit="ms",
            note=f"{work}; filling it, and fal-core's start of a worker, included",
            contestants=_contestants(size, warm=False),
            goals=(Goal(plus=0.7),),
            fresh=True,
        ),
    ]
