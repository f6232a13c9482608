"""
The laws of what runs on with nobody waiting: services and detached work, on a cluster.

A seeded part of them runs by default; FAL_CORE_LAWS=all runs them all.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any

import pytest

from fal_host_ray import RayHost
from fal_testing.suite import *  # noqa: F403  # every law
from fal_testing.suite import GROUPS

#: So many of each group run by default.
SHARES = {"serve": 1, "own servers": 1, "detach": 2}


def chosen_laws(group: str) -> set[str]:
    """Return the laws of a group that run."""
    laws = sorted(name for name in vars(GROUPS[group]) if name.startswith("test_"))
    whole = "all" in (os.environ.get("FAL_CORE_LAWS"), os.environ.get("FAL_CORE_FAULTS"))
    if whole and group in SHARES:
        return set(laws)
    return set(random.Random(17).sample(laws, SHARES.get(group, 0)))


for group in GROUPS:
    for law in [name for name in vars(GROUPS[group]) if name.startswith("test_")]:
        if law not in chosen_laws(group):
            globals().pop(law, None)


@pytest.fixture(scope="session")
def host(ray_host: RayHost) -> RayHost:
    return ray_host


@pytest.fixture(scope="session")
def host_url(cluster: Any) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", cluster.address)
        yield "ray"


@pytest.fixture(scope="session")
def kind() -> str:
    # The Python of the cluster has no package that serves.
    return "virtualenv"
