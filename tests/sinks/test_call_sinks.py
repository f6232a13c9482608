"""Sinks that give each event of a call to the handler of its kind."""

from __future__ import annotations

import pytest

from fal_core.errors import WorkerLost
from fal_core.events import (
    Event,
    Exited,
    HomeCall,
    Item,
    Log,
    Message,
    Outcome,
    Ready,
    Returned,
    Sealed,
    Started,
    State,
)
from fal_core.sinks.call_sinks import (
    GRACE,
    CallSink,
    HandlerFailed,
    error_of,
)

SEALED = Sealed(b"")

#: One event of each kind, in an order in which a host may report them.
EVENTS: tuple[Event, ...] = (
    State("running"),
    Log("a line"),
    Started(1),
    Item(SEALED),
    Returned(1),
    Ready({"run": "http://127.0.0.1:1"}),
    HomeCall(1, SEALED),
    Outcome(SEALED),
    Exited(),
)


class Cancelled:
    """An execution that notes the grace with which it was cancelled."""

    reference = "cancelled"

    def __init__(self) -> None:
        self.graces: list[float] = []

    def send(self, message: Message) -> None: ...

    def drain(self) -> None: ...

    def cancel(self, grace: float) -> None:
        self.graces.append(grace)


class Noting(CallSink):
    """A sink that notes which handler got which event, and raises for some."""

    def __init__(self, raise_for: str = "", error: type[BaseException] = LookupError) -> None:
        self.noted: list[tuple[str, Event]] = []
        self._raise_for = raise_for
        self._error = error

    def _note(self, name: str, event: Event) -> None:
        self.noted.append((name, event))
        if name == self._raise_for:
            raise self._error(name)

    def on_state(self, state: State) -> None:
        self._note("state", state)

    def on_log(self, log: Log) -> None:
        self._note("log", log)

    def on_item(self, item: Item) -> None:
        self._note("item", item)

    def on_started(self, started: Started) -> None:
        self._note("started", started)

    def on_returned(self, returned: Returned) -> None:
        self._note("returned", returned)

    def on_ready(self, ready: Ready) -> None:
        self._note("ready", ready)

    def on_home_call(self, call: HomeCall) -> None:
        self._note("home_call", call)

    def on_outcome(self, outcome: Outcome) -> None:
        super().on_outcome(outcome)
        self._note("outcome", outcome)

    def on_exited(self, exited: Exited) -> None:
        super().on_exited(exited)
        self._note("exited", exited)


def test_each_event_goes_to_the_handler_of_its_kind() -> None:
    """Every kind of event has a handler, which gets it."""
    sink = Noting()
    for event in EVENTS:
        sink(event)

    names = [
        "state",
        "log",
        "started",
        "item",
        "returned",
        "ready",
        "home_call",
        "outcome",
        "exited",
    ]
    assert sink.noted == list(zip(names, EVENTS, strict=True))
    assert (sink.outcome, sink.exited, sink.ended) == (EVENTS[-2], EVENTS[-1], True)


@pytest.mark.parametrize("known", [False, True], ids=["before it is known", "once it is known"])
def test_a_handler_that_raises_ends_the_call(*, known: bool) -> None:
    """
    The call is cancelled as soon as its execution is known, and its end has the error as
    its reason.
    """
    sink, execution = Noting(raise_for="log"), Cancelled()
    if known:
        sink.follow(execution)
    sink(EVENTS[1])
    if not known:
        sink.follow(execution)

    sink(EVENTS[-1])

    assert execution.graces == [GRACE]
    assert sink.exited is not None
    assert isinstance(sink.exited.reason, HandlerFailed)
    error = error_of(sink.exited)
    assert isinstance(error, LookupError)


def test_a_handler_that_exits_ends_the_call() -> None:
    """``SystemExit`` in a handler ends the call, and not the thread that delivers its events."""
    sink, execution = Noting(raise_for="log", error=SystemExit), Cancelled()
    sink.follow(execution)
    sink(EVENTS[1])
    sink(EVENTS[-1])

    assert execution.graces == [GRACE]
    error = error_of(sink.exited)
    assert isinstance(error, HandlerFailed)
    assert isinstance(error.__cause__, SystemExit)


def test_ctrl_c_in_a_handler_is_raised() -> None:
    """``KeyboardInterrupt`` is for the thread that waits, which may deliver the events itself."""
    sink = Noting(raise_for="log", error=KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        sink(EVENTS[1])
    assert sink.failure is None


def test_nothing_but_the_end_is_handled_after_a_failure() -> None:
    """Once a handler has raised, other events are dropped, and there is no outcome."""
    sink = Noting(raise_for="outcome")
    for event in (EVENTS[-2], *EVENTS):
        sink(event)

    assert [name for name, _ in sink.noted] == ["outcome", "exited"]
    assert sink.outcome is None


def test_a_call_without_an_outcome_has_lost_its_worker() -> None:
    """A call that ends without an outcome or a reason has lost its worker."""
    assert isinstance(error_of(None), WorkerLost)
    assert isinstance(error_of(Exited()), WorkerLost)
