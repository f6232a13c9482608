"""
The way of a warm call through the files of the caller, and what is loaded before it.

Run as a script in a process of its own, it prints one of the measures as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

WARM_UP = 200


def measure_ways() -> Mapping[str, int]:
    """
    Return how many files, jumps between them and Python calls a warm call goes through,
    with nothing kept before it how many of our modules the smallest host, a declaration
    and a first call load, and the bytes of the worker's archive.
    """
    counted: dict[str, int] = {}
    for measure in MEASURES:
        with tempfile.TemporaryDirectory() as cache:
            done = subprocess.run(
                [sys.executable, __file__, measure],
                env={**os.environ, "FAL_CORE_CACHE": cache},
                check=True,
                capture_output=True,
                text=True,
            )
        counted.update(json.loads(done.stdout.splitlines()[-1]))
    return counted


def trace(call: Any) -> list[str]:
    """Return the file of each Python function of ours that *call* runs, in order."""
    files: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        file = frame.f_code.co_filename
        # Constructors that attrs has made lie in no file.
        made = file.startswith("<")
        if event == "call" and not made and is_ours(frame.f_globals.get("__name__", "")):
            files.append(file)

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return files


def is_ours(name: str) -> bool:
    """Tell whether *name* is that of a module of ours."""
    return name.startswith("fal_")


def list_loaded() -> list[str]:
    """Return the names of our modules that are loaded."""
    return [name for name in sys.modules if is_ours(name)]


def measure_host() -> dict[str, int]:
    """Define the smallest host, as the guide does."""
    from fal_core.hosts import Capabilities
    from fal_core.pools import Start, WorkerHost
    from fal_core.workers import ARGUMENTS, Worker

    class SmallHost(WorkerHost[..., Any]):
        name = "small"
        capabilities = Capabilities.of_workers(kinds=None, concurrency=4)

        def begin(self, start: Start) -> Worker:
            return Worker.start(start.build().command(ARGUMENTS))

    return {"modules of the smallest host": len(list_loaded())}


def measure_declaration() -> dict[str, int]:
    """Declare a function."""
    from fal_core import function

    @function("virtualenv", requirements=["attrs"])
    def add_one(number: int) -> int:
        return number + 1

    loaded = list_loaded()
    ray = sum(name.startswith("fal_host_ray") for name in loaded)
    return {
        "modules of a declaration": len(loaded),
        "modules of fal_host_ray in a declaration": ray,
    }


def measure_calls() -> dict[str, int]:
    """Make a first call and a warm one."""
    from fal_core import function
    from fal_core.sealing import worker_archive

    @function("virtualenv", keep_alive=30)
    def add_one(number: int) -> int:
        return number + 1

    add_one(1)
    loaded = list_loaded()
    for _ in range(WARM_UP):
        add_one(1)
    files = trace(lambda: add_one(1))
    return {
        "files of a warm call": len({Path(file) for file in files}),
        "jumps of a warm call": sum(one != other for one, other in pairwise(files)),
        "Python calls of a warm call": len(files),
        "modules of a first call": len(loaded),
        "bytes of the worker's archive": len(worker_archive().data),
    }


MEASURES = {
    "host": measure_host,
    "declaration": measure_declaration,
    "calls": measure_calls,
}


if __name__ == "__main__":
    print(json.dumps(MEASURES[sys.argv[1]]()))
