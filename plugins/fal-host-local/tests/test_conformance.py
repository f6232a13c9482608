"""The conformance suite on the local host."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from fal_core_worker import trees
from fal_host_local import LocalHost
from fal_testing.suite import *  # noqa: F403  # every law


@pytest.fixture(scope="session")
def host() -> Iterator[LocalHost]:
    host = LocalHost()
    yield host
    host.close()


@pytest.fixture(scope="session")
def law_timeout() -> float:
    return 20.0


@pytest.fixture
def lose_place() -> Callable[[int, str], None]:
    """Of this machine a keeper can be lost, with all that it has started."""

    def lose(pid: int, hostname: str) -> None:
        keepers = trees.children(os.getpid())
        [keeper] = [each for each in keepers if pid in trees.descendants(each)]
        os.kill(keeper, signal.SIGKILL)

    return lose
