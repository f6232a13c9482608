"""
Launches: what a host raises before a call runs names it, and one that takes long is not waited
for longer than the call is wanted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import attrs
import pytest

from fal_core import Timeout, function
from fal_core.calling import launches
from fal_core.calling.launches import Launching, LaunchQueue
from fal_core.calls import Call
from fal_core.errors import Cancelled, HostClosed, HostError, OptionError
from fal_core.events import Credit, Event, Exited, Message, Sink, State
from fal_core.hosts import Capabilities, Execution, Host
from fal_core.sinks import breaches, get_event_thread
from fal_testing import InProcessHost
from fal_testing.harness.processes import wait_until


@attrs.define(eq=False, slots=False)
class RaisingHost(Host[..., Any]):
    """A host whose launch raises."""

    name: ClassVar[str] = "raising"
    capabilities: ClassVar[Capabilities] = Capabilities(kinds=None, stream=True)

    error: Exception
    count: int = attrs.field(default=0, init=False)

    def launch(self, call: Call, sink: Sink) -> Execution:
        self.count += 1
        raise self.error


@attrs.define(eq=False, slots=False)
class CheckingHost(InProcessHost):
    """A host whose check raises."""

    name: ClassVar[str] = "checking"

    def check(self, *given: Any, **more: Any) -> None:
        raise KeyError("token")


def double(number: int) -> int:
    return 2 * number


def make_call() -> Call:
    return function("current", host=InProcessHost())(double).make_launcher().call(((1,), {}))


WAYS: dict[str, Callable[[Any], Any]] = {
    "call": lambda call: call(1),
    "submit": lambda call: call.submit(1).result(30),
    "spawn": lambda call: call.spawn(1).return_value,
    "map": lambda call: list(call.map([1])),
}


@pytest.mark.parametrize("strict", ["0", "1"])
@pytest.mark.parametrize("way", WAYS)
def test_what_a_launch_raises_names_the_host(
    monkeypatch: pytest.MonkeyPatch, way: str, strict: str
) -> None:
    """An error that is none of fal-core's is the cause of a HostError that names the host."""
    monkeypatch.setenv("FAL_CORE_STRICT", strict)
    error = KeyError("token")
    with pytest.raises(HostError) as caught:
        WAYS[way](function("current", host=RaisingHost(error))(double))
    assert str(caught.value) == "Host 'raising': its launch raised KeyError: 'token'."
    assert caught.value.__cause__ is error


def test_a_launch_that_says_what_is_wrong_is_left_alone() -> None:
    """An error of fal-core is raised as it is."""
    closed = HostClosed("raising", "It is full.")
    with pytest.raises(HostClosed) as caught:
        function("current", host=RaisingHost(closed))(double)(1)
    assert caught.value is closed


def test_a_launch_that_raises_is_tried_again() -> None:
    """Whatever a host raises, its call has as many attempts as it may."""
    host = RaisingHost(OSError("no route"))
    with pytest.raises(HostError, match="OSError: no route"):
        function("current", host=host, retries=2)(double)(1)
    assert host.count == 3


def test_what_a_check_raises_names_the_host() -> None:
    """So it is with the check of a host."""
    with pytest.raises(HostError) as caught:
        function("current", host=CheckingHost())(double)(1)
    assert str(caught.value) == "Host 'checking': its check raised KeyError: 'token'."
    assert isinstance(caught.value.__cause__, KeyError)


@attrs.define(eq=False, slots=False)
class BlockedHost(Host[..., Any]):
    """A host whose launch waits until a test lets it go on."""

    name: ClassVar[str] = "blocked"
    capabilities: ClassVar[Capabilities] = Capabilities(kinds=None, options=None, stream=True)

    inner: InProcessHost = attrs.field(factory=InProcessHost)
    error: Exception | None = None
    may_go: threading.Event = attrs.field(factory=threading.Event, init=False)
    cancelled: list[str] = attrs.field(factory=list, init=False)

    def launch(self, call: Call, sink: Sink) -> Execution:
        self.may_go.wait(60)
        if self.error is not None:
            raise self.error
        execution = self.inner.launch(call, sink)
        cancel = execution.cancel

        def note(grace: float) -> None:
            self.cancelled.append(call.id)
            cancel(grace)

        execution.cancel = note  # type: ignore[method-assign]  # for the test to see it
        return execution


@pytest.fixture
def host() -> Iterator[BlockedHost]:
    host = BlockedHost()
    yield host
    host.may_go.set()


def wait_long(number: int) -> int:
    threading.Event().wait(0.5)
    return number


@pytest.mark.parametrize("way", ["call", "spawn", "submit", "map"])
def test_a_launch_that_has_to_wait_for_something(way: str, host: BlockedHost) -> None:
    """A call has its result however long its launch takes."""
    threading.Timer(0.2, host.may_go.set).start()
    isolated = function("current", host=host)(double)
    ways: dict[str, Callable[[], Any]] = {
        "call": lambda: isolated(2),
        "spawn": lambda: isolated.spawn(2).return_value,
        "submit": lambda: isolated.submit(2).result(60),
        "map": lambda: next(iter(isolated.map([2]))),
    }
    assert ways[way]() == 4


@pytest.mark.parametrize("way", ["call", "spawn", "submit"])
def test_a_timeout_holds_while_a_call_is_launched(way: str, host: BlockedHost) -> None:
    """The time of a call ends while its host launches it, and the error says so."""
    isolated = function("current", host=host, timeout=0.1, grace=0.1)(double)
    ways: dict[str, Callable[[], Any]] = {
        "call": lambda: isolated(2),
        "spawn": lambda: isolated.spawn(2).return_value,
        "submit": lambda: isolated.submit(2).result(60),
    }
    with pytest.raises(Timeout) as caught:
        ways[way]()
    assert not host.may_go.is_set()
    assert caught.value.host == "blocked"
    if way != "submit":
        assert str(caught.value) == (
            "The call took longer than 0.1 s. Host 'blocked' has not returned from its launch, "
            "and may begin it yet."
        )


def test_submit_does_not_wait_for_a_launch(host: BlockedHost) -> None:
    """Calls that are submitted wait for their launch elsewhere, and can be cancelled there."""
    isolated = function("current", host=host)(double)
    futures = [isolated.submit(number) for number in range(3)]
    assert futures[0].cancel()
    with pytest.raises(Cancelled):
        futures[0].result(60)
    host.may_go.set()
    assert [future.result(60) for future in futures[1:]] == [2, 4]


def test_what_a_late_launch_begins_is_cancelled(host: BlockedHost) -> None:
    """A call whose time was up before it was launched is cancelled once it is."""
    isolated = function("current", host=host, timeout=0.1, grace=0.1)(wait_long)
    with pytest.raises(Timeout):
        isolated(1)
    assert not host.cancelled
    host.may_go.set()
    assert wait_until(lambda: len(host.cancelled) == 1, 60)


@pytest.mark.parametrize("way", ["call", "submit"])
def test_a_launch_that_refuses_a_call_is_the_error_of_it(way: str, host: BlockedHost) -> None:
    """An error of fal-core that a launch raises is raised as it is, also where it comes late."""
    host.error = OptionError("There is no such queue.")
    host.may_go.set()
    isolated = function("current", host=host)(double)
    with pytest.raises(OptionError) as caught:
        isolated(1) if way == "call" else isolated.submit(1).result(60)
    assert caught.value is host.error


@pytest.mark.parametrize("way", ["call", "submit"])
def test_a_launch_that_takes_long_is_told(
    way: str,
    host: BlockedHost,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """After a while a line names the host and what it is busy with."""
    monkeypatch.setattr(launches, "SILENCE", 0.1)
    threading.Timer(0.5, host.may_go.set).start()
    isolated = function("current", host=host)(double)
    assert (isolated(1) if way == "call" else isolated.submit(1).result(60)) == 2
    assert capsys.readouterr().err.splitlines() == [
        "Host 'blocked' has been launching a call of 'double' for 0.1 s: its launch has not "
        "returned."
    ]


@attrs.define(eq=False, slots=False)
class OnceBlockedHost(BlockedHost):
    """A host whose first launch alone waits until a test lets it go on."""

    count: int = attrs.field(default=0, init=False)

    def launch(self, call: Call, sink: Sink) -> Execution:
        self.count += 1
        if self.count > 1:
            return self.inner.launch(call, sink)
        return super().launch(call, sink)


@pytest.fixture
def once() -> Iterator[OnceBlockedHost]:
    host = OnceBlockedHost()
    yield host
    host.may_go.set()


def test_a_launch_that_is_given_up_holds_up_no_other(once: OnceBlockedHost) -> None:
    """
    Calls that are submitted after one that is given up are launched, and the error of that one
    says what it waited for.
    """
    isolated = function("current", host=once, timeout=0.1, grace=0.1)(double)
    with pytest.raises(Timeout) as caught:
        isolated.submit(1).result(60)
    assert str(caught.value) == (
        "The call took longer than 0.1 s. Host 'blocked' has not returned from its launch, and "
        "may begin it yet."
    )
    assert not caught.value.queued

    def is_launched() -> bool:
        try:
            return isolated.submit(2).result(60) == 4
        except Timeout:
            return False

    assert wait_until(is_launched, 60)
    assert not once.may_go.is_set()


def test_a_launch_that_takes_long_holds_up_no_other(
    once: OnceBlockedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a line has said that a launch has not returned, those after it are made."""
    monkeypatch.setattr(launches, "SILENCE", 0.1)
    isolated = function("current", host=once)(double)
    first, *others = [isolated.submit(number) for number in range(3)]
    assert [other.result(60) for other in others] == [2, 4]
    assert not first.done()
    once.may_go.set()
    assert first.result(60) == 0


def test_a_call_behind_a_launch_says_so(host: BlockedHost) -> None:
    """The error of a call whose time is up before its launch has begun names what it waited for."""
    isolated = function("current", host=host, timeout=0.1, grace=60)(double)
    errors = [future.exception(60) for future in [isolated.submit(1), isolated.submit(2)]]
    assert [str(error) for error in errors] == [
        "The call took longer than 0.1 s. Host 'blocked' has not returned from its launch, and "
        "may begin it yet.",
        "The call took longer than 0.1 s. Host 'blocked' has not returned from the launch of "
        "another call before it, and it was withdrawn.",
    ]


def test_launches_go_on_after_a_sink_has_raised(
    monkeypatch: pytest.MonkeyPatch, host: BlockedHost
) -> None:
    """What the sink of one call raises is reported, and is no end of the launches after it."""
    reported: list[str] = []
    monkeypatch.setattr(
        threading, "excepthook", lambda args: reported.append(str(args.exc_value))
    )
    ended: list[Event] = []

    def refuse(event: Event) -> None:
        raise ValueError("no room")

    host.error = OptionError("There is no such queue.")
    host.may_go.set()
    queue = LaunchQueue()
    for sink in (refuse, ended.append):
        Launching("blocked", make_call(), sink).begin(host.launch, make_call(), queue)
    assert wait_until(lambda: bool(ended), 60)
    assert [type(event) for event in ended] == [Exited]
    assert reported == ["no room"]


@pytest.mark.parametrize("method", ["send", "drain", "cancel"])
def test_what_was_asked_while_a_call_was_launched(
    method: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A call ends where its host fails at what it was asked before its launch had returned: nobody
    else would learn of it.
    """
    monkeypatch.setattr(breaches, "_told", set())
    may_go, ended = threading.Event(), threading.Event()
    events: list[Event] = []

    def take(event: Event) -> None:
        events.append(event)
        ended.set()

    class Failing(Execution):
        reference = "a reference"

        def send(self, message: Message) -> None:
            raise KeyError("no send")

        def drain(self) -> None:
            raise KeyError("no drain")

        def cancel(self, grace: float) -> None:
            raise KeyError("no cancel")

    def launch(call: Call, sink: Sink) -> Execution:
        may_go.wait(60)
        sinks.append(sink)
        return Failing()

    sinks: list[Sink] = []
    launching = Launching("failing", make_call(), take)
    launching.begin(launch, make_call(), LaunchQueue())
    asked: dict[str, tuple[Any, ...]] = {"send": (Credit(1),), "cancel": (60.0,)}
    getattr(launching, method)(*asked.get(method, ()))
    may_go.set()
    assert ended.wait(60)
    assert wait_until(lambda: launching.has_returned, 60)
    # What the host says of it later is dropped.
    sinks[0](Exited())
    [exited] = events
    assert isinstance(exited, Exited)
    said = f"{method}() of its execution raised KeyError: 'no {method}'"
    if method == "cancel":
        assert isinstance(exited.reason, Cancelled)
        assert said in caplog.text
    else:
        assert said in str(exited.reason)
        assert "cancel() of its execution" in caplog.text


def test_the_event_thread_waits_for_no_event_that_is_handled() -> None:
    """A call whose time is up while an event of it is handled holds up no other."""
    is_handled, may_return, may_go = (threading.Event() for _ in range(3))
    events: list[Event] = []

    def take(event: Event) -> None:
        if isinstance(event, State):
            is_handled.set()
            may_return.wait(60)
        events.append(event)

    def launch(call: Call, sink: Sink) -> Execution:
        sink(State("starting"))
        may_go.wait(60)
        return InProcessHost().launch(call, sink)

    launching = Launching("blocked", make_call(), take)
    launching.begin(launch, make_call(), LaunchQueue())
    try:
        assert is_handled.wait(60)
        launching.cancel(0)
        passed = threading.Event()
        get_event_thread().after(0.1, passed.set)
        assert passed.wait(60)
        may_return.set()
        assert wait_until(lambda: isinstance(events and events[-1], Exited), 60)
    finally:
        may_return.set()
        may_go.set()
