"""The pace of batches: how large the next one is."""

from __future__ import annotations

import pytest

from fal_core.batching.batches import GROWTH, LARGEST, TARGET, Pace


def learned(*items: float, launch: float = 0.0, wait: float = 0.0) -> Pace:
    """Return a pace that has seen batches of ten items of the given time each."""
    pace = Pace(workers=4)
    for number, each in enumerate(items):
        started = launch + (wait if number else 0.0)
        pace.learn_started(10, 0.0, started, started + 10 * each, running=1)
    return pace


def test_batch_takes_as_long_as_its_launch() -> None:
    """A batch is meant to take the time of a launch, or a fixed time if that is longer."""
    assert learned(0.1, 0.1, launch=0.5).size == pytest.approx(5)
    assert learned(TARGET / 3, TARGET / 3, launch=TARGET / 2).size == pytest.approx(3)


def test_waiting_for_other_batches_is_no_launching() -> None:
    """A launch that waits in a queue makes batches no larger; they would grow for ever."""
    assert learned(*[0.1] * 9, launch=0.5, wait=100.0).size == pytest.approx(5)


def test_batches_grow_by_steps() -> None:
    """One measurement makes a batch larger by a limited factor only, and batches have a limit."""
    assert learned(0.0).size == GROWTH
    assert learned(*[0.0] * 9).size == LARGEST


def test_without_starts_the_whole_time_counts() -> None:
    """For a host that reports no starts, the time from launch to end counts for all items in it."""
    pace = Pace(workers=4)
    pace.learn(10, 0.0, 10 * TARGET, running=2)
    assert not pace.tells_starts
    assert pace.size == pytest.approx(2)
