"""The Python of Ray, and what runs on a node of a cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from fal_core.errors import HostError
from fal_host_ray.testing import find_ray

_ROOT = Path(__file__).resolve().parents[2]


def prepare_ray() -> str:
    """
    Return a Python that has Ray, which is made where there is none.

    Raises:
        HostError: It cannot be made.
    """
    found = find_ray()
    if found is not None:
        return found
    folder = _ROOT / ".tox" / "ray"
    python = str(folder / "bin" / "python")
    uv = [sys.executable, "-m", "uv"]
    # Ray's own tools look for a pip.
    make = [*uv, "venv", "--quiet", "--clear", "--seed", "-p", sys.executable, str(folder)]
    fill = [*uv, "pip", "install", "--quiet", "--python", python, "ray[client]>=2.50"]
    for command in (make, fill):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise HostError(f"Ray cannot be installed: {done.stderr.strip()[-2000:]}")
    return python


def runs_workers(node: int) -> bool:
    """Return whether a worker runs on the node that ends with the process *node*."""
    with suppress(OSError):
        namespace = os.readlink(f"/proc/{node}/ns/pid_for_children")
        for each in Path("/proc").glob("[0-9]*"):
            # It may end meanwhile.
            with suppress(OSError):
                if (
                    os.readlink(each / "ns/pid") == namespace
                    and b"/virtualenvs/"
                    in ((each / "cmdline").read_bytes().partition(b"\0")[0])
                ):
                    return True
    return False
