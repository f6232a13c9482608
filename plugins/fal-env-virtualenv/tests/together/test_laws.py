"""The laws of kinds of environment, on virtual environments."""

from __future__ import annotations

from pathlib import Path

import pytest

from fal_env_virtualenv import Virtualenv
from fal_testing.kinds import *  # noqa: F403  # every law


@pytest.fixture
def unbuilt(cache: Path) -> Virtualenv:
    return Virtualenv(requirements=["beta"])


@pytest.fixture
def unsolvable(cache: Path) -> Virtualenv:
    return Virtualenv(requirements=["beta", "alpha-one>=2"])
