"""Verdicts: the error of a worker that a limit has ended."""

from __future__ import annotations

import pickle

from fal_core import OutOfMemory, WorkerLost
from fal_core.machines import Machine
from fal_host_local.limits.verdicts import judge
from fal_testing.harness.devices import machine_with

MB = 1000**2
SMALL = Machine(name="small", memory=100 * MB)
LARGE = Machine(name="large", memory=10**15)


def test_a_verdict_travels_with_its_facts() -> None:
    """The error says what was used, and keeps the peak and the type as facts when it travels."""
    with machine_with(machines=(LARGE,)):
        error = judge(SMALL, 10**13, 1, WorkerLost(signal=9))
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, OutOfMemory)
    assert (copy.peak, copy.fits, copy.signal) == (10**13, "large", 9)
    assert "It used 10 TB, and machine type 'small' has 100 MB." in str(copy)


def test_other_ends_keep_their_reason() -> None:
    """A worker that no limit has ended is lost for the reason that it had."""
    lost = WorkerLost(code=3)
    assert judge(SMALL, 0, 0, lost) is lost
    assert judge(Machine(name="vague"), 0, 1, lost) is lost
