"""Calls that are ended when their time is up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import attrs
import pytest

from fal_core import Timeout, function
from fal_core.abilities import Driven
from fal_core.calling.deadlines import TimedExecution, with_deadline
from fal_core.calls import Call
from fal_core.errors import HostClosed
from fal_core.events import Event, Exited, Message, Sink, State
from fal_core.functions import IsolatedFunction
from fal_core.hosts import Capabilities, Execution, Host
from fal_testing import InProcessHost


class Endless(Driven):
    """An execution that ends only when it is cancelled, if at all."""

    reference = "endless"

    def __init__(self, sink: Sink, *, obeys: bool = True) -> None:
        self.cancelled = threading.Event()
        self._sink = sink
        self._obeys = obeys

    def send(self, message: Message) -> None: ...

    def drain(self) -> None: ...

    def cancel(self, grace: float) -> None:
        self.cancelled.set()
        if self._obeys:
            threading.Thread(target=self._sink, args=(Exited(),)).start()

    def drive(self, timeout: float | None) -> None:
        self.cancelled.wait(timeout)


@attrs.define(eq=False, slots=False)
class EndlessHost(Host[..., Any]):
    """A host whose calls never end of their own accord."""

    name: ClassVar[str] = "endless"
    capabilities: ClassVar[Capabilities] = Capabilities(
        kinds=None, options=None, stream=True, batch=True
    )

    obeys: bool = True
    attempts: int = attrs.field(default=0, init=False)

    def launch(self, call: Call, sink: Sink) -> Execution:
        self.attempts += 1
        sink(State("running"))
        return Endless(sink, obeys=self.obeys)


def give(number: int) -> int:
    return number


def items(number: int) -> Iterator[int]:
    yield number


def called(isolated: IsolatedFunction[..., Any]) -> Any:
    return isolated(1)


def submitted(isolated: IsolatedFunction[..., Any]) -> Any:
    return isolated.submit(1).result(60)


def spawned(isolated: IsolatedFunction[..., Any]) -> Any:
    return isolated.spawn(1).return_value


def mapped(isolated: IsolatedFunction[..., Any]) -> Any:
    return list(isolated.map([1]))


@pytest.mark.parametrize("way", [called, submitted, spawned, mapped])
def test_a_call_has_its_time(way: Callable[..., Any]) -> None:
    """A call ends at its deadline in each way of calling, and the error has its seconds."""
    isolated = function("current", host=EndlessHost(), timeout=0.1)(give)

    with pytest.raises(Timeout) as raised:
        way(isolated)
    assert (raised.value.seconds, raised.value.host) == (0.1, "endless")
    assert (
        str(raised.value) == "The call took longer than 0.1 s on host 'endless' and was ended."
    )


def test_a_stream_has_its_time() -> None:
    """The timeout of a stream is that of all its items."""
    with pytest.raises(Timeout):
        list(function("current", host=EndlessHost(), timeout=0.1)(items)(1))


@pytest.mark.parametrize("way", [called, spawned])
def test_a_call_whose_time_is_up_is_not_made_again(way: Callable[..., Any]) -> None:
    """All attempts share one deadline."""
    host = EndlessHost()

    with pytest.raises(Timeout):
        way(function("current", host=host, timeout=0.1, retries=3)(give))
    assert host.attempts == 1


def test_a_call_in_time_keeps_its_result() -> None:
    """A deadline changes nothing for a call that ends before it."""
    assert function("current", host=InProcessHost(), timeout=60)(give)(3) == 3


def make_call() -> Call:
    return function("current", host=InProcessHost())(give).make_launcher().call(((1,), {}))


def test_a_host_that_does_not_end_a_call_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call ends soon after the grace even if its host never reports the end."""
    monkeypatch.setattr("fal_core.calling.deadlines._PATIENCE", 0.1)
    events: list[Event] = []
    ended = threading.Event()

    def take(event: Event) -> None:
        events.append(event)
        if isinstance(event, Exited):
            ended.set()

    launch = with_deadline(lambda call, sink: Endless(sink, obeys=False), 0.05, grace=0.05)
    execution = launch(make_call(), take)

    assert ended.wait(60)
    assert isinstance(execution, TimedExecution)
    (end,) = events
    assert isinstance(end, Exited)
    assert isinstance(end.reason, Timeout)


def test_a_host_that_ignores_a_cancel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of a call that its host does not end says so, and names the host."""
    monkeypatch.setattr("fal_core.calling.deadlines._PATIENCE", 0.1)
    isolated = function("current", host=EndlessHost(obeys=False), timeout=0.1, grace=0.1)(give)
    with pytest.raises(Timeout) as raised:
        isolated(1)
    assert str(raised.value) == (
        "The call took longer than 0.1 s. Host 'endless' was told to end it, and has not said "
        "for 0.2 s that it has: it may go on there."
    )


def test_a_launch_that_raises_leaves_no_deadline() -> None:
    """A call that was not launched has no end, neither at its deadline nor later."""
    events: list[Event] = []

    def refuse(call: Call, sink: Sink) -> Execution:
        raise HostClosed("refusing")

    with pytest.raises(HostClosed):
        with_deadline(refuse, 0.05, grace=0)(make_call(), events.append)
    # Something that is due later on the same thread has run after the deadline.
    passed = threading.Event()
    with_deadline(lambda call, sink: Endless(sink), 0.2, grace=0)(
        make_call(), lambda event: passed.set()
    )

    assert passed.wait(60)
    assert events == []


def test_a_call_may_have_its_time_from_its_start() -> None:
    """The time of an item of a map begins when the host runs it, not while it waits."""
    sinks: list[Sink] = []

    def launch(call: Call, sink: Sink) -> Execution:
        sinks.append(sink)
        return Endless(sink)

    ended = threading.Event()
    timed = with_deadline(launch, 0.05, grace=0, from_start=True)
    execution = timed(make_call(), lambda event: isinstance(event, Exited) and ended.set())
    assert isinstance(execution, TimedExecution)
    # Nothing must end it meanwhile.
    assert not ended.wait(0.2)

    sinks[0](State("running"))

    assert ended.wait(60)
