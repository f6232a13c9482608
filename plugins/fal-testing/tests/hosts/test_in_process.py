"""The conformance suite on the reference host."""

from __future__ import annotations

import pytest

from fal_testing import InProcessHost
from fal_testing.suite import *  # noqa: F403  # every law


@pytest.fixture(scope="session")
def host() -> InProcessHost:
    return InProcessHost()


@pytest.fixture(scope="session")
def host_program() -> str:
    return "from fal_testing import InProcessHost\nhost = InProcessHost()"


@pytest.fixture(scope="session")
def law_timeout() -> float:
    return 20.0
