"""The interval at which the files of an environment are checked."""

from __future__ import annotations

import time
from typing import ClassVar

import attrs

from fal_core.environments import CurrentEnvironment
from fal_core.options import HostOptions
from fal_core.pools.worker_pools import RecentPool
from fal_testing.harness.processes import wait_until


@attrs.frozen(kw_only=True)
class Edited(CurrentEnvironment):
    """Refers to files, which take long to be looked at where *pauses* say so."""

    kind: ClassVar[str] = "edited"

    stamps: list[int]
    pauses: list[float]

    def stamp(self) -> object:
        time.sleep(self.pauses.pop() if self.pauses else 0.0)
        return self.stamps[-1]


def test_one_slow_look_hides_no_edit_for_long() -> None:
    """A look that met a machine that stood still does not put the next ones off by so much."""
    environment = Edited(stamps=[1], pauses=[])
    recent = RecentPool(environment, HostOptions())
    for _ in range(3):
        environment.pauses.append(1.0)
        assert recent.is_current()
        assert recent.is_current()
    environment.stamps.append(2)
    assert wait_until(lambda: not recent.is_current(), 120)
    # An edit that was seen once is not forgotten for a while.
    assert not recent.is_current()
