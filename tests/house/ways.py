"""
The way of a warm call through the files of the caller, and what a first call loads.

Run as a script in a process of its own, it prints them as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

WARM_UP = 200


def measure_ways() -> Mapping[str, int]:
    """
    Return the numbers of files, jumps between them and Python calls of a warm call, and
    those of our modules and packages which a first call loads.
    """
    command = [sys.executable, __file__]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    counted: Mapping[str, int] = json.loads(output.splitlines()[-1])
    return counted


def trace(call: Any) -> list[str]:
    """
    Return the file of each Python function of ours that *call* runs, in order.
    """
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
    """
    Tell whether *name* is that of a module of ours.
    """
    return name.startswith("fal_")


def main() -> None:
    """
    Make a first call and a warm one, and print what they go through.
    """
    from fal_core import function

    @function("virtualenv", keep_alive=30)
    def add_one(number: int) -> int:
        return number + 1

    add_one(1)
    loaded = [module for name, module in sys.modules.items() if is_ours(name)]
    packages = [module for module in loaded if hasattr(module, "__path__")]
    for _ in range(WARM_UP):
        add_one(1)
    files = trace(lambda: add_one(1))
    jumps = sum(one != other for one, other in pairwise(files))
    counted = {
        "files": len({Path(file) for file in files}),
        "jumps": jumps,
        "calls": len(files),
        "modules": len(loaded) - len(packages),
        "packages": len(packages),
    }
    print(json.dumps(counted))


if __name__ == "__main__":
    main()
