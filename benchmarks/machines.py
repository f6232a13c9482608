"""Machines: what GPUs and limits add to a warm call."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.calls import increment, median_call
from benchmarks.figures import FAL_CORE, Contestant, Figure, Goal, Measure


@contextmanager
def warm_call(count: int, *, enforce: bool = False, **options: Any) -> Iterator[Measure]:
    """
    Call a function with *options* in a warm worker, on a machine that is said to have a GPU.

    Arguments:
        enforce: Whether it keeps to the limits of its machine type.
    """
    from fal_core import function
    from fal_core.machines import Machine
    from fal_host_local import LocalHost
    from fal_testing.harness.devices import gpu, machine_with

    small = Machine(name="small", cpus=1, memory=1 << 30, processes=500)
    host = LocalHost(enforce=enforce)
    with tempfile.TemporaryDirectory() as claims, machine_with(gpu(0), machines=(small,)):
        os.environ["FAL_CORE_CLAIMS"] = claims
        limited = function(
            "current",
            host=host,
            keep_alive=600,
            max_concurrency=1,
            on_unsupported="ignore",
            **options,
        )(increment)
        assert limited(1) == 2
        yield lambda: median_call(limited, count)
        host.close()


def figures(*, quick: bool) -> list[Figure]:
    """Return the figures of this theme."""
    count = 200 if quick else 2000
    target = "benchmarks.machines:warm_call"

    def settings(**more: Any) -> dict[str, Any]:
        return {"count": count, **more}

    return [
        Figure(
            name="warm-gpu",
            title="a warm call that keeps a GPU, median",
            unit="µs",
            note="the GPU is one that a plugin names; the claim is real",
            contestants=(
                Contestant(
                    name=FAL_CORE,
                    target=target,
                    settings=settings(num_gpus=1),
                    role="fal-core",
                ),
                Contestant(
                    name="the same without a GPU",
                    target=target,
                    settings=settings(),
                    role="reference",
                ),
            ),
            goals=(Goal(against="the same without a GPU", plus=0.0001),),
        ),
        Figure(
            name="warm-limits",
            title="a warm call under the limits of its machine type, median",
            unit="µs",
            note="1 processor, 1 GiB, 500 processes",
            contestants=(
                Contestant(
                    name=FAL_CORE,
                    target=target,
                    settings=settings(enforce=True, machine_type="small"),
                    role="fal-core",
                ),
                Contestant(
                    name="the same without limits",
                    target=target,
                    settings=settings(machine_type="small"),
                    role="reference",
                ),
            ),
            goals=(Goal(against="the same without limits", factor=1.1),),
        ),
    ]
