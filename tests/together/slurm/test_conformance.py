"""
The conformance suite on the host of the tutorial, with a real Slurm.

What the host does itself runs by default; FAL_CORE_LAWS=all runs every law.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fal_core.hosts import Host
from fal_testing.suite import *  # noqa: F403  # every law
from fal_testing.suite import GROUPS

pytestmark = pytest.mark.faults

#: What the example does itself; the rest is that of the worker and of its pools.
OWN = {"events", "exits", "cancel", "crash", "serve", "own servers"}

if "all" not in (os.environ.get("FAL_CORE_LAWS"), os.environ.get("FAL_CORE_FAULTS")):
    for group in GROUPS.keys() - OWN:
        for law in [name for name in vars(GROUPS[group]) if name.startswith("test_")]:
            globals().pop(law, None)


@pytest.fixture(scope="session")
def host(slurm: Any, slurm_example: ModuleType) -> Iterator[Host[..., Any]]:
    host = slurm_example.SlurmHost()
    yield host
    host.close()


@pytest.fixture(scope="session")
def host_program(slurm_example: ModuleType) -> str:
    assert slurm_example.__file__ is not None
    folder = str(Path(slurm_example.__file__).parent)
    return (
        f"import sys\nsys.path.insert(0, {folder!r})\n"
        "from slurm_host import SlurmHost\nhost = SlurmHost()"
    )


@pytest.fixture
def lose_place(slurm: Any) -> Callable[[int, str], None]:
    """Have the node of a call fail."""

    def lose(pid: int, hostname: str) -> None:
        variables = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
        [node] = [each[16:] for each in variables if each.startswith("SLURMD_NODENAME=")]
        slurm.fail(node)

    return lose
