"""Large values: tensors, tables, frames and bytes, beside a NumPy array of that size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from benchmarks.figures import FAL_CORE, Contestant, Figure, Goal, Measure

#: A value of a library that is imported by who takes part.
Value = Any

_ARRAY = "a NumPy array"
_COPIES = "a copy and bytes(view), both ways"


def _make_array(size: int) -> Value:
    import numpy

    return numpy.arange(size // 8, dtype=numpy.float64)


def _make_tensor(size: int) -> Value:
    import torch

    columns = torch.arange(size // 2).to(torch.bfloat16).reshape(-1, 1024)
    return columns.t().requires_grad_()


def _make_table(size: int) -> Value:
    import pyarrow

    count = size // 64
    texts = pyarrow.array(["x" * 52] * count)
    return pyarrow.table({"numbers": _make_array(8 * count), "texts": texts})


def _make_frame(size: int) -> Value:
    import pandas

    count = size // 32
    dates = pandas.date_range("2020", periods=count, freq="s")
    texts = pandas.array(["x" * 8] * count, dtype="string[pyarrow]")
    return pandas.DataFrame({"numbers": _make_array(count * 8), "dates": dates, "texts": texts})


def _make_bytes(size: int) -> Value:
    return _make_array(size).tobytes()


def _make_bytearray(size: int) -> Value:
    return bytearray(_make_bytes(size))


_MAKERS: dict[str, Callable[[int], Value]] = {
    "array": _make_array,
    "tensor": _make_tensor,
    "table": _make_table,
    "frame": _make_frame,
    "bytes": _make_bytes,
    "bytearray": _make_bytearray,
}

_kept: dict[str, Value] = {}


def exchange(kind: str, size: int, value: Value) -> Value:
    """Look at the length of *value*, and give another of that size that was made before."""
    if kind not in _kept:
        _kept[kind] = _MAKERS[kind](size)
    assert len(value) == len(_kept[kind])
    return _kept[kind]


@contextmanager
def values_fal_core(kind: str, size: int) -> Iterator[Measure]:
    """Call an isolated function in a warm worker."""
    from fal_core import function

    isolated = function("current", host="local", max_concurrency=1, keep_alive=600)(exchange)
    value = _MAKERS[kind](size)

    def measure() -> float:
        began = perf_counter()
        answer = isolated(kind, size, value)
        seconds = perf_counter() - began
        assert len(answer) == len(value)
        return seconds

    for _ in range(3):
        measure()
    yield measure


@contextmanager
def values_copies(size: int) -> Iterator[Measure]:
    """Copy bytes into memory that is there, and make bytes of that, once for each way."""
    value = _make_bytes(size)
    memory = memoryview(bytearray(size))

    def measure() -> float:
        began = perf_counter()
        memory[:] = value
        there = bytes(memory)
        memory[:] = there
        back = bytes(memory)
        seconds = perf_counter() - began
        assert back == value
        return seconds

    measure()
    yield measure


def _figure(kind: str, title: str, *, size: int, needs: tuple[str, ...], goal: Goal) -> Figure:
    here = "benchmarks.large_values:values_"
    of_array = {"kind": "array", "size": size}
    return Figure(
        name=f"large-{kind}",
        title=f"{size >> 20} MiB {title} in, and one of that size out, warm",
        unit="ms",
        contestants=(
            Contestant(
                name=FAL_CORE,
                target=here + "fal_core",
                settings={"kind": kind, "size": size},
                role="fal-core",
                needs=("numpy", *needs),
            ),
            Contestant(
                name=_ARRAY,
                target=here + "fal_core",
                settings=of_array,
                role="reference",
                needs=("numpy",),
            ),
            Contestant(
                name=_COPIES,
                target=here + "copies",
                settings={"size": size},
                role="reference",
                needs=("numpy",),
            ),
        ),
        goals=(goal,),
    )


def figures(*, quick: bool) -> list[Figure]:
    """Return the figures of this theme."""
    size = (16 if quick else 64) << 20
    like_array = Goal(against=_ARRAY, factor=1.5)
    like_copies = Goal(against=_COPIES, factor=1.3)
    kinds: tuple[tuple[str, str, tuple[str, ...], Goal], ...] = (
        ("tensor", "bfloat16 tensor, transposed, with a gradient", ("torch",), like_array),
        ("table", "Arrow table of numbers and texts", ("pyarrow",), like_array),
        (
            "frame",
            "pandas frame of numbers, dates and texts",
            ("pandas", "pyarrow"),
            like_array,
        ),
        ("bytes", "bytes", (), like_copies),
        ("bytearray", "bytearray", (), like_copies),
    )
    return [
        _figure(kind, title, size=size, needs=needs, goal=goal)
        for kind, title, needs, goal in kinds
    ]
