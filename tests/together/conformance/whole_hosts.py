"""Files that run the laws on hosts around a whole one: what they have in common."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from fal_core.hosts import Host
from fal_core_worker import trees
from fal_testing.suite import GROUPS

#: Makes the host of another program, where the one that is tested says nothing else.
_LOCAL = "from fal_host_local import LocalHost\nhost = LocalHost()"


def keep_groups(names: dict[str, Any], groups: set[str]) -> None:
    """
    Remove from *names*, those of a file, the laws of all but *groups*; of none where every
    fault is tried.
    """
    if os.environ.get("FAL_CORE_FAULTS") == "all":
        return
    for group in GROUPS.keys() - groups:
        for law in [name for name in vars(GROUPS[group]) if name.startswith("test_")]:
            names.pop(law, None)


@pytest.fixture(scope="session")
def host_program(host: Host[..., Any]) -> str:
    """Lines of Python that make the host in another program."""
    made: str = getattr(host, "program", _LOCAL)
    return made


@pytest.fixture
def lose_place() -> Callable[[int, str], None]:
    """End the keeper of a call, and all that it has started."""

    def lose(pid: int, hostname: str) -> None:
        keepers = trees.children(os.getpid())
        [keeper] = [each for each in keepers if pid in trees.descendants(each)]
        os.kill(keeper, signal.SIGKILL)

    return lose
