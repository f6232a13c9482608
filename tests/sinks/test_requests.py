"""Requests: what an execution raises when it is asked for something names its host."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import attrs
import pytest

from fal_core import function
from fal_core.calling import LateExecution
from fal_core.calls import Call
from fal_core.errors import Cancelled, PluginError, Timeout
from fal_core.events import Message, Sink
from fal_core.hosts import Execution, Host
from fal_core.sinks import breaches, get_event_thread
from fal_core.sinks.requests import try_cancel
from fal_core.wrappers import WrapperHost
from fal_core_worker import current
from fal_testing import InProcessHost
from fal_testing.harness.processes import wait_until


@attrs.define(eq=False, slots=False)
class FailingHost(WrapperHost):
    """
    A host whose executions raise when they are asked for something.

    Attributes:
        fails: The methods that raise.
    """

    name: ClassVar[str] = "failing"

    inner: Host[..., Any] = attrs.field(factory=InProcessHost)
    fails: tuple[str, ...] = ("send",)
    executions: list[FailingExecution] = attrs.field(factory=list, init=False)

    made: ClassVar[list[FailingHost]] = []

    def __attrs_post_init__(self) -> None:
        self.made.append(self)

    def launch(self, call: Call, sink: Sink) -> Execution:
        execution = FailingExecution(call.id)
        self.executions.append(execution)
        execution.fails = self.fails
        execution.settle(self.inner.launch(call, sink))
        return execution

    def end_calls(self) -> None:
        """End the calls, which cannot be cancelled by the methods of their executions."""
        for execution in self.executions:
            LateExecution.cancel(execution, 0.1)


class FailingExecution(LateExecution):
    """An execution that raises when it is asked for something."""

    fails: tuple[str, ...] = ()
    kind: type[Exception] = KeyError
    says = ""

    def send(self, message: Message) -> None:
        self._ask("send")
        super().send(message)

    def drain(self) -> None:
        self._ask("drain")
        super().drain()

    def cancel(self, grace: float) -> None:
        self._ask("cancel")
        super().cancel(grace)

    def _ask(self, method: str) -> None:
        if method in self.fails:
            raise self.kind(self.says or f"no {method}")


#: Set once a test has ended, and what it has left on threads is to end.
over = threading.Event()


@pytest.fixture(autouse=True)
def _end_calls() -> Iterator[None]:
    over.clear()
    yield
    for host in FailingHost.made:
        host.end_calls()
    FailingHost.made.clear()
    over.set()
    assert wait_until(lambda: current.runtime is None, 60)


def one_more(number: int) -> int:
    return number + 1


def sleep() -> None:
    # Nothing ends a thread, and a copy of the event would not be set.
    sys.modules[__name__].over.wait(60)


def many(number: int) -> Iterator[int]:
    yield from range(number)


SAYS = (
    "Host 'failing': {0}() of its execution raised KeyError: 'no {0}'. Let it raise nothing, "
    "and give Exited the HostError that ends the call."
)


@pytest.mark.parametrize("strict", ["0", "1"])
@pytest.mark.parametrize("fails", [("send",), ("send", "cancel")])
@pytest.mark.parametrize("way", ["call", "submit", "spawn", "map", "retries", "timeout"])
def test_execution_that_does_not_take_the_reply(
    monkeypatch: pytest.MonkeyPatch, way: str, fails: tuple[str, ...], strict: str
) -> None:
    """A host whose send() raises ends the call, with the error that names it."""
    monkeypatch.setenv("FAL_CORE_STRICT", strict)
    at_home = function("current", host=InProcessHost())(one_more)
    policy: dict[str, Any] = {"retries": {"retries": 2}, "timeout": {"timeout": 60.0}}

    @function("current", host=FailingHost(fails=fails), **policy.get(way, {}))
    def ask(number: int) -> int:
        return at_home(number)

    with pytest.raises(PluginError) as caught:
        WAYS.get(way, lambda call: call(1))(ask)
    assert str(caught.value) == SAYS.format("send")
    assert isinstance(caught.value.__cause__, KeyError)


WAYS: dict[str, Callable[[Any], Any]] = {
    "submit": lambda call: call.submit(1).result(30),
    "spawn": lambda call: call.spawn(1).return_value,
    "map": lambda call: list(call.map([1])),
}


@pytest.mark.parametrize("way", ["stream", "spawn"])
def test_execution_that_takes_no_credit(way: str) -> None:
    """A stream whose host raises as it is given credit ends with the error that names it."""
    counting = function("current", host=FailingHost())(many)
    with pytest.raises(PluginError) as caught:
        list(counting(100)) if way == "stream" else counting.spawn(100).return_value
    assert str(caught.value) == SAYS.format("send")


@attrs.define(eq=False, slots=False)
class LateHost(FailingHost):
    """A host whose launch returns after the deadline of the call."""

    def launch(self, call: Call, sink: Sink) -> Execution:
        is_over = threading.Event()
        # The deadline is due before this, on the same thread.
        get_event_thread().after(0.2, is_over.set)
        assert is_over.wait(60)
        return super().launch(call, sink)


@pytest.mark.parametrize("kind", [FailingHost, LateHost])
def test_deadline_of_an_execution_that_cannot_be_cancelled(kind: type[FailingHost]) -> None:
    """A call whose host raises from cancel() still ends with Timeout at its deadline."""
    host = kind(fails=("cancel",))
    try:
        with pytest.raises(Timeout):
            function("current", host=host, timeout=0.1)(sleep).spawn().future.result(30)
    finally:
        host.end_calls()


@pytest.mark.parametrize("method", ["cancel", "drain"])
def test_requests_of_a_spawned_call_name_the_host(method: str) -> None:
    """What an execution raises names the host to whoever has asked."""
    host = FailingHost(fails=("cancel", "drain"))
    info = function("current", host=host)(sleep).spawn()
    try:
        with pytest.raises(PluginError) as caught:
            info.cancel() if method == "cancel" else info._ask(info.stream.drain)
    finally:
        host.end_calls()
    assert str(caught.value) == SAYS.format(method)


@pytest.mark.parametrize("way", ["submit", "spawn"])
def test_future_of_an_execution_that_cannot_be_cancelled(
    way: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancelled future is cancelled, and the log says that its host could not end the call."""
    monkeypatch.setattr(breaches, "_told", set())
    host = FailingHost(fails=("cancel",))
    slow = function("current", host=host)(sleep)
    future = slow.submit() if way == "submit" else slow.spawn().future
    assert future is not None
    # A call that is submitted is launched by another thread.
    assert wait_until(lambda: host.executions, 30)
    try:
        assert future.cancel()
        assert wait_until(lambda: SAYS.format("cancel") in caplog.text, 30)
    finally:
        host.end_calls()
    with pytest.raises(Cancelled):
        future.result(30)


def test_what_cancels_raise_is_logged_once_of_each_class(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that names the call in what it raises fills no log, and no memory."""
    monkeypatch.setattr(breaches, "_told", set())
    for number in range(20):
        execution = FailingExecution(f"call-{number}")
        execution.fails = ("cancel",)
        execution.kind = LookupError if number % 2 else KeyError
        execution.says = f"no call {number}"
        assert not try_cancel("failing", execution, 0.1)
    assert [record.getMessage()[:70] for record in caplog.records] == [
        "Host 'failing': cancel() of its execution raised KeyError: 'no call 0'",
        "Host 'failing': cancel() of its execution raised LookupError: no call ",
    ]
    assert len(breaches._told) == 2
