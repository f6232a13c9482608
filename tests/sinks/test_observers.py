"""Observers: what plugins hear of calls, and the trace context that travels with them."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any, ClassVar

import attrs
import pytest

from fal_core import function
from fal_core.calls import Call
from fal_core.errors import HostClosed, HostError, PluginError
from fal_core.events import Exited, Log, Outcome, Sealed, Sink
from fal_core.hooks import hookimpl
from fal_core.hosts import Execution, Host
from fal_core.plugins import registered
from fal_core.sinks.observers import current_traceparent, launch_observed
from fal_core_worker.opening.seals import seal_plain
from fal_testing import InProcessHost
from fal_testing.harness.processes import wait_until
from fal_testing.harness.recorders import Recorder


@pytest.fixture
def heard() -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """What a plugin that observes has heard: the names of hooks, and their arguments."""
    heard: list[tuple[str, dict[str, Any]]] = []

    def started(call: Call, host: Host[..., Any], count: int) -> None:
        heard.append(("started", {"call": call, "host": host, "count": count}))

    def finished(
        call: Call, host: Host[..., Any], count: int, seconds: float, raised: bool
    ) -> None:
        assert seconds >= 0
        heard.append(
            ("finished", {"call": call, "host": host, "count": count, "ok": not raised})
        )

    def failed(call: Call, host: Host[..., Any], error: Exception) -> None:
        heard.append(("failed", {"call": call, "host": host, "error": error}))

    made: Any = ModuleType("observing")
    made.fal_core_api = 1
    made.fal_call_started = hookimpl(started)
    made.fal_call_finished = hookimpl(finished)
    made.fal_host_failed = hookimpl(failed)
    with registered(made):
        yield heard


def words(heard: list[tuple[str, dict[str, Any]]]) -> list[Any]:
    """Return each hook, with how many calls it was for and how they went."""
    return [(name, *(facts.get(key) for key in ("count", "ok"))) for name, facts in heard]


def test_each_call_is_heard_of_twice(heard: Any) -> None:
    """Plugins hear of a call before it is launched and after it has ended, with its host."""
    host = InProcessHost()
    isolated = function("current", host=host)(len)
    assert isolated("four") == 4
    assert words(heard) == [("started", 1, None), ("finished", 1, True)]
    assert heard[0][1]["call"] is heard[1][1]["call"]
    assert heard[0][1]["call"].name == "len"
    assert heard[0][1]["host"] is heard[1][1]["host"] is host


def test_a_call_that_raises_has_finished(heard: Any) -> None:
    """An exception of the function is a result of the call, not a failure of its host."""
    with pytest.raises(TypeError):
        function("current", host=InProcessHost())(len)(3)
    assert words(heard) == [("started", 1, None), ("finished", 1, False)]


def test_a_batch_is_heard_of_with_its_items(heard: Any) -> None:
    """One launch of many items is one call, and says how many they are."""
    host = InProcessHost()
    recorder = Recorder(function("current", host=host)(len).make_launcher())
    call = recorder.launcher.call([(("a",), {}), (("ab",), {})], batch=2)
    recorder.follow(launch_observed(host.launch, host, call, recorder))
    recorder.wait(30)
    assert wait_until(lambda: len(heard) == 2, 30)
    assert words(heard) == [("started", 2, None), ("finished", 2, True)]


@attrs.define(eq=False, slots=False)
class FullHost(InProcessHost):
    """Fails whatever it takes."""

    name: ClassVar[str] = "full"

    def launch(self, call: Call, sink: Sink) -> Execution:
        sink(Log("no room"))
        sink(Exited(reason=HostClosed("full")))
        return super().launch(call, lambda event: None)


def test_a_failure_of_the_host_is_no_end_of_the_call(heard: Any) -> None:
    """Plugins hear of the error; the sink of the call has all events before they do."""
    host = FullHost()
    recorder = Recorder(function("current", host=host)(len).make_launcher())
    call = recorder.launcher.call((("four",), {}))
    order: list[Any] = []
    launch_observed(
        host.launch, host, call, lambda event: order.append((type(event), len(heard)))
    )
    assert order == [(Log, 1), (Exited, 1)]
    assert [name for name, _ in heard] == ["started", "failed"]
    assert isinstance(heard[1][1]["error"], HostClosed)


@attrs.define(eq=False, slots=False)
class BreakingHost(InProcessHost):
    """Sends what it was given, and nothing else."""

    name: ClassVar[str] = "breaking"

    events: tuple[Any, ...]

    def launch(self, call: Call, sink: Sink) -> Execution:
        execution = super().launch(call, lambda event: None)
        for event in self.events:
            sink(event)
        return execution


VALUE = Outcome(Sealed(*(seal_plain(7) or ())))


@pytest.mark.parametrize(
    "events",
    [
        (VALUE, VALUE),
        (VALUE, VALUE, Exited()),
        (Exited(),),
        (Exited(reason=ValueError("no room")),),  # type: ignore[arg-type]  # the breach
    ],
    ids=["no_end", "second_outcome", "no_outcome", "odd_reason"],
)
@pytest.mark.parametrize("way", ["call", "spawn"])
def test_a_host_that_breaks_the_contract_has_failed(
    heard: Any, events: tuple[Any, ...], way: str
) -> None:
    """Plugins hear of a breach once, as whoever waits for the call does, and of no other end."""
    isolated = function("current", host=BreakingHost(events=events))(len)
    with pytest.raises(PluginError) as caught:
        isolated("four") if way == "call" else isolated.spawn("four").return_value
    assert [name for name, _ in heard] == ["started", "failed"]
    assert str(heard[1][1]["error"]) == str(caught.value)


class Faulty:
    """A plugin each of whose observing hooks raises."""

    fal_core_api = 1

    def __init__(self, error: BaseException) -> None:
        self.error = error

    @hookimpl
    def fal_call_started(self) -> None:
        raise self.error

    @hookimpl
    def fal_call_finished(self) -> None:
        raise self.error

    @hookimpl
    def fal_host_failed(self) -> None:
        raise self.error


@pytest.fixture(params=[ValueError("no room"), SystemExit(3)], ids=["error", "exit"])
def faulty(request: Any) -> Iterator[str]:
    """The name of a plugin that raises wherever it observes, loaded first and last."""
    with registered(Faulty(request.param), "faulty"):
        yield "faulty"


def give(number: int) -> int:
    if number < 0:
        raise LookupError(number)
    return number


def count(most: int) -> Iterator[int]:
    yield from range(most)


def test_an_observer_that_raises_changes_no_call(faulty: str, heard: Any) -> None:
    """Calls of every form return, and raise, as without a plugin that fails to observe them."""
    isolated = function("current", host=InProcessHost())(give)
    assert isolated(1) == 1
    assert isolated.submit(2).result(30) == 2
    assert isolated.spawn(3).return_value == 3
    assert list(isolated.map(range(5))) == [0, 1, 2, 3, 4]
    assert list(function("current", host=InProcessHost())(count)(3)) == [0, 1, 2]
    with pytest.raises(LookupError):
        isolated(-1)
    # The other plugin has heard of all of them.
    names = [name for name, _ in heard]
    assert names.count("started") == names.count("finished") >= 6


def test_an_observer_that_raises_replaces_no_error(faulty: str, heard: Any) -> None:
    """The error of a host arrives as itself, from a call and from a map."""
    isolated = function("current", host=FullHost())(give)
    with pytest.raises(HostClosed):
        isolated(1)
    with pytest.raises(HostClosed):
        list(isolated.map(range(3)))
    assert "failed" in [name for name, _ in heard]


def test_an_observer_that_raises_is_logged_once(caplog: Any) -> None:
    """The log names the plugin, its hook, the error and where it was raised, once for each hook."""
    isolated = function("current", host=InProcessHost())(give)
    with registered(Faulty(ValueError("no\nroom.")), "faulty"):
        for number in range(3):
            assert isolated(number) == number
        # A call may return before its end is told.
        assert wait_until(lambda: len(caplog.records) == 2, 30)
    messages = [record.getMessage() for record in caplog.records]
    assert [record.name for record in caplog.records] == ["fal_core.plugins"] * 2
    for hook, message in zip(("fal_call_started", "fal_call_finished"), messages, strict=True):
        assert message.startswith(
            f"Plugin 'faulty': its hook {hook} raised ValueError: no room ({__file__}, line "
        )
        assert message.endswith("The call goes on as without it, and this is said once.")


@attrs.define(eq=False, slots=False)
class RefusingHost(InProcessHost):
    """Takes no call."""

    name: ClassVar[str] = "refusing"

    error: Exception = attrs.field(factory=lambda: HostClosed("refusing"))

    def launch(self, call: Call, sink: Sink) -> Any:
        raise self.error


@pytest.mark.parametrize("error", [HostClosed("refusing"), KeyError("place")])
def test_a_call_that_is_not_launched_has_failed(heard: Any, error: Exception) -> None:
    """Plugins that heard of the start of a call hear of its end, also where launch raises."""
    with pytest.raises(HostError):
        function("current", host=RefusingHost(error))(give)(1)
    assert [name for name, _ in heard] == ["started", "failed"]
    assert isinstance(heard[1][1]["error"], HostError)


def test_the_span_of_the_caller_is_a_trace_context() -> None:
    """Outside any span there is no context; inside one it is written as the W3C has it."""
    trace = pytest.importorskip("opentelemetry.trace")
    assert current_traceparent() is None
    context = trace.SpanContext(
        trace_id=0x1234, span_id=0x56, is_remote=False, trace_flags=trace.TraceFlags(1)
    )
    with trace.use_span(trace.NonRecordingSpan(context)):
        assert current_traceparent() == f"00-{'1234':0>32}-{'56':0>16}-01"
