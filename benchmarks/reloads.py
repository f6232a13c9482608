"""Reloads: from the moment a file is saved to the first answer of what it says."""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.figures import FAL_CORE, Contestant, Figure, Goal, Measure
from benchmarks.services import await_answer, end_session, free_ports

_HERE = "benchmarks.reloads:"
UVICORN = "uvicorn --reload"

_BESIDE = "NUMBER = {}\n"
_FAL_CORE = """
from beside import NUMBER
from fal_serve import App, endpoint


class Tells(App, kind="current"):
    @endpoint("/number")
    async def number(self) -> int:
        return NUMBER
"""
_UVICORN = """
from beside import NUMBER
from fastapi import FastAPI

application = FastAPI()


@application.post("/number")
async def number() -> int:
    return NUMBER
"""


@contextmanager
def reloaded(who: str) -> Iterator[Measure]:
    """Save a module beside that of a service, again and again, until it answers as it says."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}/number"
    if who == "fal-core":
        text, argv = _FAL_CORE, ["fal_core.cli", "run", "service.py", "--reload"]
    else:
        text, argv = _UVICORN, ["uvicorn", "service:application", "--reload"]
    numbers = itertools.count(1)
    with tempfile.TemporaryDirectory(prefix="fal-core-benchmarks-") as name:
        directory = Path(name)
        (directory / "service.py").write_text(text)
        (directory / "beside.py").write_text(_BESIDE.format(0))
        process = subprocess.Popen(
            [sys.executable, "-m", *argv, "--port", str(port)],
            cwd=directory,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

        def measure() -> float:
            number = next(numbers)
            # As after a while in which nothing was saved.
            time.sleep(1.0)
            began = time.perf_counter()
            (directory / "beside.py").write_text(_BESIDE.format(number))
            while _ask(url) != str(number).encode():
                time.sleep(0.005)
            return time.perf_counter() - began

        try:
            await_answer(url, process)
            measure()
            yield measure
        finally:
            end_session(process)


def _ask(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, b"", timeout=10) as answer:
            read: bytes = answer.read()
            return read
    except OSError:
        return b""


def figures(*, quick: bool) -> list[Figure]:
    """Return the figure of this theme."""
    return [
        Figure(
            name="reload",
            title="a saved file, to the first answer of what it says",
            unit="s",
            note="a module beside that of the service; the service does nothing else",
            contestants=(
                Contestant(
                    name=FAL_CORE,
                    target=_HERE + "reloaded",
                    settings={"who": "fal-core"},
                    role="fal-core",
                    needs=("fal_serve",),
                    pinned=False,
                ),
                Contestant(
                    name=UVICORN,
                    target=_HERE + "reloaded",
                    settings={"who": "uvicorn"},
                    needs=("uvicorn", "fastapi"),
                    pinned=False,
                ),
            ),
            goals=(Goal(plus=1.0),),
        )
    ]
