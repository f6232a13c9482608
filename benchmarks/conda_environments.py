"""Conda environments: solved and installed from packages that are cached."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from time import perf_counter

from benchmarks.figures import FAL_CORE, Contestant, Figure, Goal, Measure

_ALONE = "rattler alone, as a program"
_LOADED = "rattler alone, loaded before"

#: rattler crashes in some runs when Python ends.
_PROGRAM = """
import asyncio, os, sys, rattler

async def make():
    records = await rattler.solve([sys.argv[1]], [sys.argv[2]])
    await rattler.install(records, sys.argv[3], show_progress=False)

asyncio.run(make())
os._exit(0)
"""


@contextmanager
def _channel() -> Iterator[tuple[Path, str]]:
    """Yield a folder of this figure, and a channel there with the running Python."""
    from fal_env_conda.testing import make_channel, package_python

    with tempfile.TemporaryDirectory(prefix="fal-core-benchmarks-") as name:
        folder = Path(name)
        os.environ["RATTLER_CACHE_DIR"] = str(folder / "rattler")
        os.environ["FAL_CORE_CACHE"] = str(folder / "cache")
        yield folder, make_channel(folder / "channel", [package_python()])


@contextmanager
def new_environment() -> Iterator[Measure]:
    """Have fal-core solve and build an environment that it does not have."""
    from fal_env_conda import Conda
    from fal_env_conda.building import recipes

    with _channel() as (folder, channel):

        def measure() -> float:
            shutil.rmtree(folder / "cache" / "conda" / "solutions", ignore_errors=True)
            for path in (folder / "cache" / "conda").glob("*/.fal-core-complete"):
                shutil.rmtree(path.parent)
            recipes.forget()
            environment = Conda(packages=["python"], channels=[channel])
            environment.key  # noqa: B018  # a host has asked for it before
            began = perf_counter()
            environment.build(lambda line: None, Event())
            return perf_counter() - began

        measure()
        yield measure


@contextmanager
def new_prefix() -> Iterator[Measure]:
    """Have rattler solve and install the same into a prefix."""
    import rattler

    with _channel() as (folder, channel):

        async def make() -> float:
            prefix = folder / "prefix"
            shutil.rmtree(prefix, ignore_errors=True)
            began = perf_counter()
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            records = await rattler.solve([channel], [f"python {version}.*"])
            await rattler.install(records, prefix, show_progress=False)
            return perf_counter() - began

        asyncio.run(make())
        yield lambda: asyncio.run(make())


@contextmanager
def new_program() -> Iterator[Measure]:
    """Have a program do the same with rattler, which ends as soon as it has."""
    with _channel() as (folder, channel):

        def measure() -> float:
            shutil.rmtree(folder / "prefix", ignore_errors=True)
            began = perf_counter()
            version = f"python {sys.version_info.major}.{sys.version_info.minor}.*"
            command = [sys.executable, "-c", _PROGRAM, channel, version, str(folder / "prefix")]
            subprocess.run(command, check=True)
            return perf_counter() - began

        measure()
        yield measure


def figures(*, quick: bool) -> list[Figure]:
    """Return the figures of this theme."""
    here = "benchmarks.conda_environments:"
    return [
        Figure(
            name="conda-environment",
            title="a new conda environment with Python, solved and installed",
            unit="s",
            note="packages in rattler's cache; fal-core starts a program for rattler too",
            contestants=(
                Contestant(
                    name=FAL_CORE,
                    target=here + "new_environment",
                    role="fal-core",
                    needs=("fal_env_conda",),
                    pinned=False,
                ),
                Contestant(
                    name=_ALONE,
                    target=here + "new_program",
                    role="reference",
                    needs=("rattler",),
                    pinned=False,
                ),
                Contestant(
                    name=_LOADED,
                    target=here + "new_prefix",
                    role="reference",
                    needs=("rattler",),
                    pinned=False,
                ),
            ),
            goals=(Goal(against=_ALONE, plus=0.1),),
        )
    ]
