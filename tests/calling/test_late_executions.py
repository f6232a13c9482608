"""Executions that stand in for another one until that is known."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from fal_core.calling.late_executions import LateExecution

#: Stands for a message to the worker, which is passed on as it is.
MESSAGE: Any = object()


class Inner:
    """An execution that records its requests."""

    def __init__(self) -> None:
        self.asked: list[object] = []
        #: Called when it is cancelled.
        self.cancelled = lambda: None

    @property
    def reference(self) -> str:
        return "inner"

    def send(self, frame: Any) -> None:
        self.asked.append(frame)

    def drain(self) -> None:
        self.asked.append("drain")

    def cancel(self, grace: float) -> None:
        self.asked.append(grace)
        self.cancelled()


@pytest.fixture
def late() -> LateExecution:
    return LateExecution("late")


def test_earlier_requests_are_passed_on_in_order(late: LateExecution):
    """The inner execution gets the requests from before it was known, then the later ones."""
    inner = Inner()
    late.send(MESSAGE)
    late.drain()
    late.cancel(2.0)
    assert late.reference == "late"

    late.settle(inner)
    assert inner.asked == [MESSAGE, "drain", 2.0]
    late.cancel(3.0)

    assert inner.asked == [MESSAGE, "drain", 2.0, 3.0]
    assert late.reference == "inner"


def test_requests_made_while_passing_on_come_after_the_earlier_ones(late: LateExecution):
    """A request made while earlier ones are passed on comes after them, without a deadlock."""
    inner = Inner()
    inner.cancelled = lambda: late.send(MESSAGE)
    late.cancel(2.0)
    late.drain()

    late.settle(inner)

    assert inner.asked == [2.0, "drain", MESSAGE]


def test_requests_are_dropped_if_there_is_no_inner_execution(late: LateExecution):
    """An execution that never begins can be asked for anything."""
    late.cancel(2.0)
    late.settle(None)
    late.drain()

    assert late.inner is None
    assert late.reference == "late"


def test_another_inner_execution_follows(late: LateExecution):
    """After it has settled again, requests go to the new inner execution alone."""
    first, second = Inner(), Inner()
    late.settle(first)
    late.settle(second)

    late.drain()

    assert (first.asked, second.asked) == ([], ["drain"])


def test_settling_is_waited_for(late: LateExecution):
    """Waiting ends once the inner execution is known and has received the earlier requests."""
    assert not late.wait_until_settled(0)
    inner = Inner()
    late.cancel(2.0)
    thread = threading.Thread(target=late.settle, args=(inner,))
    thread.start()

    assert late.wait_until_settled(60)
    assert inner.asked == [2.0]
    thread.join()
