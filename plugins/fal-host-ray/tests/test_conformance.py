"""
The conformance suite on a cluster of two nodes, but for what runs on with nobody waiting.

A seeded part of the laws runs by default; FAL_CORE_LAWS=all runs them all.
"""

from __future__ import annotations

import os
import random

import pytest

from fal_host_ray import RayHost
from fal_testing.suite import *  # noqa: F403  # every law
from fal_testing.suite import GROUPS

#: Those of what other files test, and of kinds that only this process knows.
LEFT_OUT = ("serve", "own servers", "detach", "groups", "interpreter")
#: Those that take long where a machine is busy, and say little of this host.
LONG = ("takes_too_long", "stay_as_are_asked_for", "no_part_of_a_request", "not_ready_in_time")
#: So many of each group run by default.
SHARE = 1


def chosen_laws(group: str) -> set[str]:
    """Return the laws of a group that run."""
    laws = [name for name in vars(GROUPS[group]) if name.startswith("test_")]
    if group in LEFT_OUT:
        return set()
    if "all" in (os.environ.get("FAL_CORE_LAWS"), os.environ.get("FAL_CORE_FAULTS")):
        return set(laws)
    quick = [law for law in sorted(laws) if not any(part in law for part in LONG)]
    return set(random.Random(17).sample(quick, min(SHARE, len(quick))))


for group in GROUPS:
    for law in [name for name in vars(GROUPS[group]) if name.startswith("test_")]:
        if law not in chosen_laws(group):
            globals().pop(law, None)


@pytest.fixture(scope="session")
def host(ray_host: RayHost) -> RayHost:
    return ray_host
