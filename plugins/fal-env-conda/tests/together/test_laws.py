"""The laws of kinds of environment, on conda environments."""

from __future__ import annotations

import pytest

from fal_env_conda import Conda
from fal_testing.kinds import *  # noqa: F403  # every law


@pytest.fixture(scope="session")
def law_timeout() -> float:
    # Each of many processes has a rattler of its own, which takes long on a busy machine.
    return 240.0


@pytest.fixture
def unbuilt(channel: str) -> Conda:
    return Conda(packages=["beta"], pip=["gamma"], channels=[channel])


@pytest.fixture
def unsolvable(channel: str) -> Conda:
    return Conda(packages=["demanding", "beta"], channels=[channel])
