"""Breaches: what a host must not do is told in one sentence, to whoever waits for the call."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import attrs
import pytest

from fal_core import function
from fal_core.abilities import Driver
from fal_core.calls import Call
from fal_core.errors import HostError, PluginError
from fal_core.events import Exited, Item, Log, Message, Outcome, Sealed, Sink, Started, State
from fal_core.hosts import Capabilities, Host
from fal_core.sinks import breaches, missing_ends
from fal_core.wrappers import WrapperHost
from fal_core_worker.opening.seals import seal_plain
from fal_testing import ProcessHost
from fal_testing.harness.processes import wait_until

#: Seconds that anything may take.
PATIENCE = 30.0

GOOD = Outcome(Sealed(*(seal_plain(7) or ())))


class Own:
    """An execution of a host's own, which another thread delivers."""

    reference = "own"

    def __init__(self) -> None:
        self.cancelled = threading.Event()

    def send(self, message: Message) -> None: ...

    def drain(self) -> None: ...

    def cancel(self, grace: float) -> None:
        self.cancelled.set()


#: What a host does with a sink; it returns what its launch returns.
Act = Callable[[Call, Sink], Any]


@attrs.define(eq=False, slots=False)
class BreakingHost(Host[..., Any]):
    """A host that does what it is told with the sinks of its calls."""

    name: ClassVar[str] = "breaking"
    capabilities: ClassVar[Capabilities] = Capabilities(
        kinds=None, options=None, stream=True, batch=False
    )

    act: Act
    execution: Own = attrs.field(factory=Own, init=False)

    def launch(self, call: Call, sink: Sink) -> Any:
        return self.act(call, sink)


def sending(*events: Any) -> BreakingHost:
    """Return a host that sends *events* for each call, on a thread of its own."""

    def act(call: Call, sink: Sink) -> Own:
        def send() -> None:
            for event in events:
                sink(event)

        threading.Thread(target=send, daemon=True).start()
        return host.execution

    host = BreakingHost(act)
    return host


def give(number: int = 0) -> int:
    return number


def count(number: int = 0) -> Iterator[int]:
    yield number


#: Each way to wait for a call.
WAYS: dict[str, Callable[[Host[..., Any]], Any]] = {
    "call": lambda host: function("current", host=host)(give)(1),
    "submit": lambda host: function("current", host=host)(give).submit(1).result(PATIENCE),
    "spawn": lambda host: function("current", host=host)(give).spawn(1).return_value,
    "map": lambda host: list(function("current", host=host)(give).map([1])),
    "stream": lambda host: list(function("current", host=host)(count)(1)),
    "retries": lambda host: function("current", host=host, retries=2)(give)(1),
    "timeout": lambda host: function("current", host=host, timeout=PATIENCE)(give)(1),
}


@attrs.frozen
class MyLog(Log):
    """A line of a host's own."""


BREACHES: dict[str, tuple[tuple[Any, ...], str]] = {
    "second_outcome": (
        (GOOD, GOOD, Exited()),
        "it sent a second Outcome of one call. A function ends once: send one Outcome, and "
        "then Exited.",
    ),
    "opened_outcome": (
        (Outcome(7), Exited()),  # type: ignore[arg-type]  # the breach
        "its Outcome holds 7 (int) and no Sealed of fal_core.events. Pass on what the worker "
        "has sent, unopened.",
    ),
    "no_event": (
        ({"log": "line"}, GOOD, Exited()),
        "it sent {'log': 'line'} (dict), which is no event of fal_core.events.",
    ),
    "own_event": (
        (MyLog("line"), GOOD, Exited()),
        "of a subclass of Log. Send Log itself.",
    ),
    "odd_reason": (
        (Exited(reason=ValueError("no room")),),  # type: ignore[arg-type]  # the breach
        "its Exited has the reason ValueError('no room') (ValueError), which is no HostError. "
        "Make one of it: HostError(str(error)).",
    ),
    "no_end": (
        (State("running"), Exited()),
        "it ended a call with neither an Outcome nor a reason. Give Exited the HostError that "
        "says why there is no outcome.",
    ),
}


@pytest.fixture(params=[False, True], ids=["plain", "strict"])
def strict(request: Any, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether every event is checked."""
    monkeypatch.setenv("FAL_CORE_STRICT", str(int(request.param)))
    return bool(request.param)


def test_a_breach_is_told_to_whoever_waits(
    strict: bool, check_all: Callable[..., None]
) -> None:
    """What a host must not send ends the call, with its name and what to write."""

    def check(row: tuple[str, str]) -> None:
        name, way = row
        events, sentence = BREACHES[name]
        with pytest.raises(PluginError) as caught:
            WAYS[way](sending(*events))
        assert str(caught.value).startswith("Host 'breaking': it")
        assert sentence in str(caught.value)

    check_all(check, itertools.product(BREACHES, WAYS))


@pytest.mark.parametrize("name", ["second_outcome", "opened_outcome", "no_event", "own_event"])
def test_a_call_that_was_broken_off_is_cancelled(strict: bool, name: str) -> None:
    """A breach ends the call on its host too, also where the host sends no end any more."""
    host = sending(*BREACHES[name][0][:-1])
    with pytest.raises(PluginError):
        WAYS["call"](host)
    assert host.execution.cancelled.wait(PATIENCE)


def test_the_reason_that_is_no_host_error_is_the_cause(strict: bool) -> None:
    """What a host gave for a reason is kept for people to look at."""
    with pytest.raises(PluginError) as caught:
        WAYS["call"](sending(*BREACHES["odd_reason"][0]))
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize(
    ("returned", "sentence"),
    [
        (None, "Host 'breaking': its launch returned None. Return the Execution of the call."),
        (
            "started",
            "Host 'breaking': its launch returned 'started' (str), which has no reference and "
            "no send and no drain and no cancel. Return an Execution.",
        ),
    ],
)
def test_a_launch_that_returns_no_execution_is_told(
    strict: bool, returned: Any, sentence: str, check_all: Callable[..., None]
) -> None:
    """A launch that returns something else is an error at once; nobody waits for an end."""

    def check(way: str) -> None:
        with pytest.raises(PluginError) as caught:
            WAYS[way](BreakingHost(lambda call, sink: returned))
        assert str(caught.value) == sentence

    check_all(check, WAYS)


def test_an_event_after_the_end_is_logged_and_takes_nothing_away(
    strict: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The result of a call stays what it was; what came too late is logged, once for a host."""
    monkeypatch.setattr(breaches, "_told", set())

    def act(call: Call, sink: Sink) -> Own:
        for event in (GOOD, Exited(), Log("late"), Log("later"), Exited()):
            sink(event)
        return Own()

    for _ in range(2):
        assert WAYS["call"](BreakingHost(act)) == 7
    assert [record.getMessage() for record in caplog.records] == [
        f"Host 'breaking': it sent {name} after Exited, which is the last event of a call."
        for name in ("Log", "Exited")
    ]


STRICT_BREACHES: dict[str, tuple[tuple[Any, ...], str]] = {
    "late_line": (
        (GOOD, Log("late"), Exited()),
        "it sent Log after the Outcome of its call. Send all that a function prints and "
        "yields before it.",
    ),
    "reason_and_outcome": (
        (GOOD, Exited(reason=HostError("gone"))),
        "its Exited has the reason HostError('gone') after an Outcome. Give a reason only "
        "where there is no outcome.",
    ),
    "odd_phase": (
        (State("resting"), GOOD, Exited()),  # type: ignore[arg-type]  # the breach
        "it sent a wrong State. 'State.name' must be ",
    ),
    "odd_line": (
        (Log(b"line"), GOOD, Exited()),  # type: ignore[arg-type]  # the breach
        "it sent a wrong Log. 'Log.message' must be a string, not b'line' (bytes).",
    ),
    "odd_count": (
        (Started("all"), GOOD, Exited()),  # type: ignore[arg-type]  # the breach
        "it sent a wrong Started. 'Started.count' must be an integer, not 'all' (str).",
    ),
    "opened_item": (
        (Item(7), GOOD, Exited()),  # type: ignore[arg-type]  # the breach
        "it sent a wrong Item. 'Item.sealed' must be a Sealed, not 7 (int).",
    ),
    "odd_code": (
        (GOOD, Exited(code="0")),  # type: ignore[arg-type]  # the breach
        "it sent a wrong Exited. 'Exited.code' must be an integer or None, not '0' (str).",
    ),
}


@pytest.mark.parametrize("way", ["call", "spawn"])
@pytest.mark.parametrize("name", STRICT_BREACHES)
def test_a_strict_sink_checks_every_event(
    monkeypatch: pytest.MonkeyPatch, name: str, way: str
) -> None:
    """With ``FAL_CORE_STRICT`` each field of each event, and their order, is checked."""
    monkeypatch.setenv("FAL_CORE_STRICT", "1")
    events, sentence = STRICT_BREACHES[name]
    with pytest.raises(PluginError) as caught:
        WAYS[way](sending(*events))
    assert str(caught.value).startswith("Host 'breaking': it")
    assert sentence in str(caught.value)


def test_events_of_two_threads_at_once_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A strict sink tells of a host that sends an event while another one is taken."""
    monkeypatch.setenv("FAL_CORE_STRICT", "1")
    taking, sent = threading.Event(), threading.Event()

    def hold(log: Log) -> None:
        taking.set()
        sent.wait(PATIENCE)

    monkeypatch.setattr("fal_core.sinks.printing.print_log", hold)

    def act(call: Call, sink: Sink) -> Own:
        def send_first() -> None:
            sink(Log("first"))

        def send_second() -> None:
            taking.wait(PATIENCE)
            sink(State("running"))
            sent.set()

        for send in (send_first, send_second):
            threading.Thread(target=send, daemon=True).start()
        return Own()

    with pytest.raises(PluginError, match="it sent State on a thread of its own while another"):
        WAYS["call"](BreakingHost(act))


@pytest.mark.parametrize("way", ["call", "spawn"])
def test_a_missing_end_is_told_where_it_is_checked(
    monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """A strict sink ends a call whose outcome has come, and whose end does not follow."""
    monkeypatch.setenv("FAL_CORE_STRICT", "1")
    monkeypatch.setattr(breaches, "PATIENCE", 0.1)
    host = sending(GOOD)
    with pytest.raises(PluginError, match="it sent an Outcome and no Exited in the"):
        WAYS[way](host)
    assert host.execution.cancelled.wait(PATIENCE)


@pytest.mark.parametrize("way", [*WAYS])
def test_a_missing_end_is_logged_and_the_outcome_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    """
    A call whose outcome has come, and whose end does not follow, is taken as ended after a
    while; an end that comes after all says nothing new.
    """
    monkeypatch.delenv("FAL_CORE_STRICT", raising=False)
    monkeypatch.setattr(breaches, "PATIENCE", 0.1)
    monkeypatch.setattr(missing_ends, "INTERVAL", 0.05)
    monkeypatch.setattr(breaches, "_told", set())
    sinks: list[Sink] = []

    def act(call: Call, sink: Sink) -> Own:
        sinks.append(sink)
        sink(GOOD)
        return Own()

    assert WAYS[way](BreakingHost(act)) in (7, [7], [])

    (record,) = caplog.records
    assert "Host 'breaking': it sent an Outcome and no Exited" in record.getMessage()
    sinks[0](Exited())
    assert caplog.records == [record]
    assert not missing_ends._waiting


@pytest.mark.parametrize("way", ["call", "retries", "timeout"])
@pytest.mark.parametrize("is_late", [False, True], ids=["at_once", "later"])
def test_an_execution_that_is_not_driven_is_told(strict: bool, way: str, is_late: bool) -> None:
    """A host that passes on a sink, and returns an execution that nobody drives, hangs no call."""

    def act(call: Call, sink: Sink) -> Own:
        def keep() -> None:
            # As a worker does, which keeps its events for the thread that drives it.
            assert isinstance(sink, Driver)
            sink.left_to_driver = True

        if is_late:
            threading.Timer(0.2, keep).start()
        else:
            keep()
        return host.execution

    host = BreakingHost(act)
    with pytest.raises(PluginError, match="an execution of its own that is not Driven"):
        WAYS[way](host)
    assert host.execution.cancelled.wait(PATIENCE)


@attrs.define(eq=False, slots=False)
class PassingHost(WrapperHost[..., Any]):
    """Passes its sink on to a host of workers, and returns an execution of its own."""

    name: ClassVar[str] = "passing"

    executions_of_inner: list[Any] = attrs.field(factory=list, init=False)

    def launch(self, call: Call, sink: Sink) -> Any:
        self.executions_of_inner.append(self.inner.launch(call, sink))
        return Own()


def test_a_worker_that_nobody_reads_is_told(strict: bool) -> None:
    """A plain call on a real worker whose execution is hidden ends with what to write."""
    inner = ProcessHost()
    host = PassingHost(inner)
    with pytest.raises(PluginError, match="Host 'passing': it passed on the sink of a call"):
        WAYS["call"](host)
    [execution] = host.executions_of_inner
    execution.cancel(0)
    execution.drive(PATIENCE)
    assert wait_until(lambda: inner.worker_count == 0, PATIENCE)
    host.close()


def test_a_worker_is_read_where_the_sink_is_no_driver(strict: bool) -> None:
    """A submitted call on the same host returns: nobody waits for it, so nobody has to drive it."""
    host = PassingHost(ProcessHost())
    assert WAYS["submit"](host) == 1
    host.close()
