"""
The laws of kinds of environment, on conda environments.
"""

from __future__ import annotations

import pytest

from fal_core.testing.kinds import *  # noqa: F403  # every law
from fal_env_conda import Conda


@pytest.fixture
def unbuilt(channel: str) -> Conda:
    return Conda(packages=["beta"], pip=["gamma"], channels=[channel])


@pytest.fixture
def unsolvable(channel: str) -> Conda:
    return Conda(packages=["demanding", "beta"], channels=[channel])
