"""Attaching: detached work is followed as if this process had spawned it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import attrs
import pytest

from fal_core import attach, function
from fal_core.abilities import DetachingHost, ExecutionStatus
from fal_core.calls import Call
from fal_core.errors import HostError, UnsupportedError
from fal_core.events import Event, HomeCall, Log, Message, Reply, Sink
from fal_core.hosts import Execution
from fal_core.sealing.arguments import seal_arguments
from fal_core_worker.opening.exceptions import open_error
from fal_testing import InProcessHost
from fal_testing.harness.processes import wait_until
from fal_testing.harness.recorders import Recorder

#: Seconds that anything may take.
PATIENCE = 30


class Ended:
    """An execution that has ended, and what it was sent."""

    reference = "kept"

    def __init__(self) -> None:
        self.sent: list[Message] = []

    def send(self, message: Message) -> None:
        self.sent.append(message)

    def drain(self) -> None: ...

    def cancel(self, grace: float) -> None: ...


@attrs.define(eq=False, slots=False)
class KeepingHost(InProcessHost, DetachingHost):
    """Keeps the events of each call, and reports them to whoever asks."""

    name: ClassVar[str] = "keeping"

    kept: dict[str, list[Event]] = attrs.field(factory=dict)
    attached: list[Ended] = attrs.field(factory=list)

    def keep(self, isolated: Any, *arguments: Any) -> str:
        """Run a call to its end, and return what it can be found by."""
        recorder = Recorder(isolated.make_launcher())
        recorder.launch(*arguments)
        recorder.wait(PATIENCE)
        self.kept["kept"] = list(recorder.events)
        return "kept"

    def launch(self, call: Call, sink: Sink) -> Execution:
        return super().launch(call, sink)

    def attach(self, reference: str, sink: Sink, after: int = 0) -> Execution:
        if reference not in self.kept:
            raise HostError(f"There is no {reference}.")
        self.attached.append(Ended())
        for event in self.kept[reference][after:]:
            sink(event)
        return self.attached[-1]

    def executions(self) -> Iterable[ExecutionStatus]:
        return ()


@pytest.fixture
def host() -> KeepingHost:
    return KeepingHost()


def speak(text: str) -> str:
    print("speaking")
    return text.upper()


def test_result_and_lines_are_those_of_the_call(host: KeepingHost) -> None:
    """Whoever attaches gets the lines and the result, with no function at hand."""
    info = attach(host, host.keep(function("current", host=host)(speak), "hi"))
    assert info.return_value == "HI"
    assert info.logs.get(timeout=PATIENCE).message == "speaking"
    assert info.reference == "kept"


def test_events_that_were_seen_are_left_out(host: KeepingHost) -> None:
    """The host reports what comes after the events that were seen already."""
    reference = host.keep(function("current", host=host)(speak), "hi")
    seen = next(n for n, each in enumerate(host.kept["kept"], 1) if isinstance(each, Log))
    info = attach(host, reference, after=seen)
    assert info.return_value == "HI"
    assert info.logs.empty()


class Size:
    def __init__(self, width: int) -> None:
        self.width = width


def test_classes_of_the_function_are_its_own(host: KeepingHost) -> None:
    """With the function that was spawned, its result is of the classes that it has here."""
    isolated = function("current", host=host)(lambda width: Size(width))
    info = attach(host, host.keep(isolated, 3), isolated)
    assert type(info.return_value) is Size
    assert info.return_value.width == 3


def test_what_the_call_raised_is_raised(host: KeepingHost) -> None:
    """The error of the function is that of the call, under a name for what is not known."""
    info = attach(host, host.keep(function("current", host=host)(speak), None))
    with pytest.raises(AttributeError, match="upper"):
        assert info.return_value


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_calls_home_are_answered(host: KeepingHost, *, known: bool) -> None:
    """A call that the work makes here is answered, with an error where nobody can make it."""
    inner = function("current", host=InProcessHost())(speak)
    isolated = function("current", host=host)(lambda: inner("x"))
    host.keep(isolated)
    launcher = isolated.make_launcher()
    sealed = seal_arguments((987_654, ("hi",), {}), launcher.seal)
    host.kept["kept"] = [HomeCall(5, sealed)]
    attach(host, "kept", isolated if known else None)
    (ended,) = host.attached
    assert wait_until(lambda: bool(ended.sent), PATIENCE)
    (reply,) = ended.sent
    assert isinstance(reply, Reply)
    assert (reply.number, reply.raised) == (5, True)
    assert open_error(reply.sealed, {})


def test_errors_of_the_host_are_raised_at_once(host: KeepingHost) -> None:
    """Unknown work is an error, and so is a host that detaches none."""
    with pytest.raises(HostError, match="There is no nothing"):
        attach(host, "nothing")
    with pytest.raises(UnsupportedError, match="cannot attach to detached work"):
        attach(InProcessHost(), "kept")
