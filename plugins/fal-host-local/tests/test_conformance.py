"""
The conformance suite on the local host.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fal_core.testing.suite import *  # noqa: F403  # every law
from fal_host_local import LocalHost


@pytest.fixture(scope="session")
def host() -> Iterator[LocalHost]:
    host = LocalHost()
    yield host
    host.close()


@pytest.fixture(scope="session")
def law_timeout() -> float:
    return 20.0
