"""
Batches: how many items a launch carries.
"""

from __future__ import annotations

import threading
import time
from typing import ClassVar

import attrs
import pytest

from fal_core import function
from fal_core.batching.paces import GROWTH, LARGEST, TARGET, Pace
from fal_core.calls import Call
from fal_core.events import Sink
from fal_core.testing.hosts.in_process import InProcessExecution, InProcessHost

#: Seconds that the host of these tests needs for a launch.
LAUNCH = 0.03


@attrs.define(eq=False, slots=False)
class SlowToLaunch(InProcessHost):
    """
    A host whose launches take long, as over a network, and are counted.

    Attributes:
        sizes: How many items each launch carried.
    """

    name: ClassVar[str] = "slow-to-launch"

    sizes: list[int] = attrs.field(factory=list, init=False)

    def launch(self, call: Call, sink: Sink) -> InProcessExecution:
        self.sizes.append(call.batch or 1)
        execution = InProcessExecution(self, call, sink)
        threading.Timer(LAUNCH, execution.run).start()
        return execution


@pytest.fixture
def host() -> SlowToLaunch:
    return SlowToLaunch()


def test_quick_items_share_slow_launches(host: SlowToLaunch) -> None:
    """
    The time of a launch does not count as time of its items: quick items need few launches.
    """

    @function("current", host=host)
    def double(number: int) -> int:
        return 2 * number

    assert list(double.map(range(400))) == [2 * number for number in range(400)]
    assert sum(host.sizes) == 400
    assert len(host.sizes) < 100


def test_slow_items_are_launched_alone(host: SlowToLaunch) -> None:
    """
    Items that take longer than their launch do not wait behind each other.
    """

    @function("current", host=host)
    def sleep(number: int) -> int:
        time.sleep(10 * LAUNCH)
        return number

    assert list(sleep.map(range(12))) == list(range(12))
    assert host.sizes == [1] * 12


def test_one_call_after_the_other_is_learned_from(host: SlowToLaunch) -> None:
    """
    The time of calls submitted alone decides how many may share a launch.
    """

    @function("current", host=host)
    def double(number: int) -> int:
        return 2 * number

    for number in range(4):
        assert double.submit(number).result() == 2 * number
    assert host.sizes == [1] * 4
    futures = [double.submit(number) for number in range(200)]
    assert [future.result() for future in futures] == [2 * number for number in range(200)]
    assert sum(host.sizes) == 204
    assert len(host.sizes) < 60


def test_exception_of_an_item_on_its_own_is_its_own(host: SlowToLaunch) -> None:
    """
    An item launched alone raises its own exception, with nothing added to it.
    """

    @function("current", host=host)
    def fail(number: int) -> int:
        raise LookupError(number)

    with pytest.raises(LookupError, match=r"^7$"):
        fail.submit(7).result()
    assert list(map(str, fail.map([1, 2], return_exceptions=True))) == ["1", "2"]


def learned(*items: float, launch: float = 0.0, wait: float = 0.0) -> Pace:
    """
    Return a pace that has seen batches of ten items of the given time each.
    """
    pace = Pace(workers=4)
    for number, each in enumerate(items):
        started = launch + (wait if number else 0.0)
        pace.learn_started(10, 0.0, started, started + 10 * each, running=1)
    return pace


def test_batch_takes_as_long_as_its_launch() -> None:
    """
    A batch is meant to take the time of a launch, or a fixed time if that is longer.
    """
    assert learned(0.1, 0.1, launch=0.5).size == pytest.approx(5)
    assert learned(TARGET / 3, TARGET / 3, launch=TARGET / 2).size == pytest.approx(3)


def test_waiting_for_other_batches_is_no_launching() -> None:
    """
    A launch that waits in a queue makes batches no larger; they would grow for ever.
    """
    assert learned(*[0.1] * 9, launch=0.5, wait=100.0).size == pytest.approx(5)


def test_batches_grow_by_steps() -> None:
    """
    One measurement makes a batch larger by a limited factor only, and batches have a limit.
    """
    assert learned(0.0).size == GROWTH
    assert learned(*[0.0] * 9).size == LARGEST


def test_without_starts_the_whole_time_counts() -> None:
    """
    For a host that reports no starts, the time from launch to end counts for all items in it.
    """
    pace = Pace(workers=4)
    pace.learn(10, 0.0, 10 * TARGET, running=2)
    assert not pace.tells_starts
    assert pace.size == pytest.approx(2)
