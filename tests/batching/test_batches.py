"""Batches: how many items a launch carries."""

from __future__ import annotations

import threading
import time
from typing import ClassVar

import attrs
import pytest

from fal_core import function
from fal_core.calls import Call
from fal_core.events import Sink
from fal_testing.hosts.in_process import InProcessHost
from fal_testing.hosts.in_process_calls import InProcessExecution

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
    """The time of a launch does not count as time of its items: quick items need few launches."""

    @function("current", host=host)
    def double(number: int) -> int:
        return 2 * number

    assert list(double.map(range(400))) == [2 * number for number in range(400)]
    assert sum(host.sizes) == 400
    assert len(host.sizes) < 100


def test_slow_items_are_launched_alone(host: SlowToLaunch) -> None:
    """Items that take longer than their launch do not wait behind each other."""

    @function("current", host=host)
    def sleep(number: int) -> int:
        time.sleep(10 * LAUNCH)
        return number

    assert list(sleep.map(range(12))) == list(range(12))
    assert host.sizes == [1] * 12


def test_one_call_after_the_other_is_learned_from(host: SlowToLaunch) -> None:
    """The time of calls submitted alone decides how many may share a launch."""

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
    """An item launched alone raises its own exception, with nothing added to it."""

    @function("current", host=host)
    def fail(number: int) -> int:
        raise LookupError(number)

    with pytest.raises(LookupError, match=r"^7$"):
        fail.submit(7).result()
    assert list(map(str, fail.map([1, 2], return_exceptions=True))) == ["1", "2"]
