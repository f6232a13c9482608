"""
The conformance suite on a cluster of two nodes, but for what runs on with nobody waiting.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fal_core.testing.suite import *  # noqa: F403  # every law
from fal_core.testing.suite import GROUPS
from fal_host_ray import RayHost

#: The groups of other files.
SERVICES = ("serve", "own servers", "detach")

for group in SERVICES:
    for law in [name for name in vars(GROUPS[group]) if name.startswith("test_")]:
        globals().pop(law, None)


@pytest.fixture(scope="session")
def host(cluster: Any) -> Iterator[RayHost]:
    host = RayHost(cluster.address)
    yield host
    host.close()


@pytest.fixture(scope="session")
def host_program(cluster: Any) -> str:
    return f"from fal_host_ray import RayHost\nhost = RayHost({cluster.address!r})"


@pytest.fixture(scope="session")
def law_timeout() -> float:
    return 30.0
