"""Waiting for a call on the thread that makes it."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from fal_core import function
from fal_core.abilities import Driven
from fal_core.events import Event, Exited, Message, Outcome, Ready, Sealed
from fal_testing import InProcessHost


class Interrupted(Driven):
    """An execution whose driver is interrupted, as by Ctrl-C."""

    reference = "interrupted"

    def __init__(self, sink: Any) -> None:
        self.graces: list[float] = []
        self._sink = sink

    def send(self, message: Message) -> None: ...

    def drain(self) -> None: ...

    def cancel(self, grace: float) -> None:
        self.graces.append(grace)

    def drive(self, timeout: float | None) -> None:
        if not self.graces:
            raise KeyboardInterrupt
        self._sink(Exited())


class Told(Interrupted):
    """An execution whose events another thread delivers."""

    def drive(self, timeout: float | None) -> None:
        events: list[Event] = [Outcome(Sealed(b"")), Exited()]
        threading.Timer(0.01, lambda: [self._sink(event) for event in events]).start()


def make_waiter() -> Any:
    return (
        function("current", host=InProcessHost(), grace=3.5)(len).make_launcher().make_waiter()
    )


def test_an_interrupted_caller_ends_its_call() -> None:
    """
    The call is cancelled, with the grace of the policy, and has ended when the interrupt
    goes on.
    """
    waiter = make_waiter()
    execution = Interrupted(waiter)

    with pytest.raises(KeyboardInterrupt):
        waiter.wait(execution)

    assert execution.graces == [3.5]
    assert waiter.ended


def test_call_of_a_service_says_where_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """The URLs are on the standard error, the one to call first."""
    make_waiter()(Ready({"metrics": "http://127.0.0.1:2", "run": "http://127.0.0.1:1"}))

    told = capsys.readouterr()
    assert told.err.splitlines() == ["run: http://127.0.0.1:1", "metrics: http://127.0.0.1:2"]
    assert not told.out


def test_events_may_come_from_another_thread() -> None:
    """A call is waited for although nothing is to be driven."""
    waiter = make_waiter()

    waiter.wait(Told(waiter))

    assert waiter.ended
    assert waiter.outcome is not None


def test_waiting_may_be_limited() -> None:
    """``wait_until`` returns whether the call has ended in time."""
    waiter = make_waiter()
    execution = Interrupted(waiter)
    execution.graces.append(0.0)

    assert waiter.wait_until(execution, 60)
    other = make_waiter()
    assert not other.wait_until(object(), 0)
