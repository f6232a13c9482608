"""Calls that have an outcome and no end are ended after a while, each by itself."""

from __future__ import annotations

import os
import threading
from typing import Any, ClassVar

import attrs
import pytest

from fal_core import function
from fal_core.calls import Call
from fal_core.events import Exited, Outcome, Sealed, Sink
from fal_core.hosts import Execution
from fal_core.sinks import breaches, missing_ends
from fal_core.sinks.call_sinks import CallSink, HandlerFailed
from fal_core.sinks.missing_ends import expect_end, note_end
from fal_core.wrappers import WrapperHost
from fal_testing import InProcessHost
from fal_testing.harness.processes import wait_until

#: Seconds that anything may take.
PATIENCE = 30.0


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up soon, and look often."""
    monkeypatch.delenv("FAL_CORE_STRICT", raising=False)
    monkeypatch.setattr(breaches, "PATIENCE", 0.1)
    monkeypatch.setattr(breaches, "_told", set())
    monkeypatch.setattr(missing_ends, "INTERVAL", 0.05)


class FailingSink(CallSink):
    """A sink that raises at the end."""

    def on_exited(self, exited: Exited) -> None:
        super().on_exited(exited)
        raise LookupError("no room")


def test_an_end_that_has_come_is_not_missed(caplog: pytest.LogCaptureFixture) -> None:
    """A call that has ended in time is left alone, and not kept."""
    ended, other = CallSink(), CallSink()
    expect_end(ended)
    note_end(ended)
    expect_end(other)
    assert wait_until(lambda: other.given_up, PATIENCE)
    assert not ended.given_up
    assert not missing_ends._waiting
    assert len(caplog.records) == 1


def test_one_that_fails_at_its_end_keeps_no_other_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the handler of one end raises is reported, and the other calls are ended too."""
    reported: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", reported.append)
    failing, other = FailingSink(), CallSink()
    expect_end(failing)
    expect_end(other)
    assert wait_until(lambda: other.given_up, PATIENCE)
    assert failing.ended
    assert [each.exc_type for each in reported] == [LookupError]


def test_what_a_handler_has_raised_is_the_reason() -> None:
    """The end of a call whose handler has raised says so, also where the host sends none."""
    sink = CallSink()
    sink(Outcome(Sealed(b"")))
    expect_end(sink)
    sink.fail(LookupError("no room"))
    assert wait_until(lambda: sink.given_up, PATIENCE)
    assert sink.exited is not None
    assert isinstance(sink.exited.reason, HandlerFailed)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_ends_its_own_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child looks for the ends of its own calls, and not for those of its parent."""
    monkeypatch.setattr(breaches, "PATIENCE", PATIENCE)
    of_parent, of_child = CallSink(), CallSink()
    expect_end(of_parent)
    child = os.fork()
    if not child:
        try:
            breaches.PATIENCE = 0.1
            expect_end(of_child)
            is_ended = wait_until(lambda: of_child.given_up, PATIENCE)
            os._exit(0 if is_ended and not of_parent.given_up else 1)
        finally:
            os._exit(2)
    note_end(of_parent)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@attrs.define(eq=False, slots=False)
class ForgetfulHost(WrapperHost[..., Any]):
    """Keeps the end of the first call to itself."""

    name: ClassVar[str] = "forgetful"

    sinks: list[Sink] = attrs.field(factory=list, init=False)

    def launch(self, call: Call, sink: Sink) -> Execution:
        self.sinks.append(sink)
        is_first = len(self.sinks) == 1

        def pass_on(event: Any) -> None:
            if not (is_first and type(event) is Exited):
                sink(event)

        return self.inner.launch(call, pass_on)


def test_the_host_is_named_where_sinks_are_around_sinks(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log names the host also for a spawned call that has attempts and a deadline."""
    host = ForgetfulHost(InProcessHost())
    isolated = function("current", host=host, retries=1, timeout=PATIENCE)(len)
    assert isolated.spawn("four").return_value == 4
    (record,) = caplog.records
    assert record.getMessage().startswith("Host 'forgetful': it sent an Outcome and no")


def test_an_attempt_that_does_not_end_is_followed_by_another() -> None:
    """
    What the function raised is kept for another attempt, which begins without the end of
    the first one. If that end comes after all, it begins no third attempt.
    """
    host = ForgetfulHost(InProcessHost())

    tried: list[None] = []

    @function("current", host=host, retries=3, retry_on=(LookupError,))
    def find() -> int:
        # Its copy is kept from attempt to attempt.
        tried.append(None)
        if len(tried) == 1:
            raise LookupError("gone")
        return len(tried)

    assert find() == 2
    host.sinks[0](Exited())
    assert len(host.sinks) == 2
