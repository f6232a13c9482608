"""Executions of groups: several nodes run one call, and end as one."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from process_groups import PATIENCE, ProcessGroupHost

from fal_core import current_node, function
from fal_core.calls import Call
from fal_core.errors import (
    Cancelled,
    EnvironmentBuildError,
    Timeout,
    UserFunctionException,
    WorkerLost,
)
from fal_core.events import (
    Event,
    Exited,
    Item,
    Log,
    Message,
    Outcome,
    Ready,
    Sealed,
    Sink,
    State,
)
from fal_core.groups import NodeFailed, Preparation, Prepared, launch_group
from fal_core.hosts import Execution
from fal_core_worker.opening.seals import seal_plain
from fal_testing import InProcessHost, Recorder
from fal_testing.harness.processes import wait_until


class Scripted(InProcessHost):
    """
    A host of nodes whose start a test decides on.

    Attributes:
        get: Does what a test wants of the preparation of a node.

        launched: The ranks of the nodes on which a call was launched.

        released: Those that were given back.
    """

    def __init__(self, get: Callable[[Preparation], Any] = lambda node: None) -> None:
        super().__init__()
        self.get = get
        self.launched: list[int] = []
        self.released: list[int] = []

    def prepare(self, node: Preparation) -> Prepared:
        given = self.get(node)

        def launch(call: Call, sink: Sink) -> Execution:
            self.launched.append(node.rank)
            if isinstance(given, BaseException):
                raise given
            if given is launch_group:
                return None  # type: ignore[return-value]  # what must not be
            return InProcessHost.launch(self, call, sink)

        def release() -> None:
            self.released.append(node.rank)

        if given is self:
            return None  # type: ignore[return-value]  # what must not be
        return Prepared(address=f"node-{node.rank}", launch=launch, release=release)


class Still:
    """The part of a node that does what a test tells it, and notes what it is asked for."""

    def __init__(self, sink: Sink) -> None:
        self.tell = sink
        self.asked: list[str] = []

    reference = "still"

    def send(self, message: Message) -> None:
        self.asked.append(type(message).__name__)

    def drain(self) -> None:
        self.asked.append("drain")

    def cancel(self, grace: float) -> None:
        self.asked.append("cancel")
        self.tell(Exited(reason=Cancelled()))


class Stubborn(Still):
    """A part that goes on when it is cancelled, until a test ends it."""

    def cancel(self, grace: float) -> None:
        self.asked.append("cancel")


class Refusing(Still):
    """A part that cannot be drained."""

    def drain(self) -> None:
        raise OSError("no connection")


class Parts:
    """
    A call on three nodes whose parts a test plays.

    Attributes:
        nodes: The parts, by rank.

        events: What has come of the call.
    """

    def __init__(self, sink: Sink | None = None) -> None:
        self.events: list[Event] = []
        parts: dict[int, Still] = {}

        def prepare(node: Preparation) -> Prepared:
            def launch(call: Call, sink: Sink) -> Execution:
                parts[node.rank] = Still(sink)
                return parts[node.rank]

            return Prepared(address="here", launch=launch)

        launcher = function("current", host=InProcessHost(), nodes=3)(give).make_launcher()
        call = launcher.call(((), {}))
        self.execution = launch_group(call, sink or self.events.append, prepare)
        assert wait_until(lambda: len(parts) == 3, PATIENCE)
        self.nodes = [parts[rank] for rank in range(3)]

    def end(self, rank: int, value: Any = None, *, raised: bool = False) -> None:
        """Have the function on a node return, or raise."""
        plain = seal_plain(value)
        assert plain is not None
        self.nodes[rank].tell(Outcome(Sealed(*plain), raised))
        self.nodes[rank].tell(Exited())


def give() -> int:
    return current_node().rank


def record(isolated: Any, *args: Any) -> Recorder:
    recorder = Recorder(isolated.make_launcher())
    recorder.launch(*args)
    return recorder


def ends_of(recorder: Recorder) -> list[Event]:
    return [event for event in recorder.events if isinstance(event, (Outcome, Exited))]


# -- the start -------------------------------------------------------------------------


def test_nothing_starts_before_all_nodes_are_there() -> None:
    """The call is launched on all nodes once the last of them is there."""
    late = threading.Event()

    def get(node: Preparation) -> None:
        if node.rank == 2:
            assert late.wait(PATIENCE)

    host = Scripted(get)
    recorder = record(function("current", host=host, nodes=3)(give))
    assert host.launched == []
    assert recorder.phases == []
    late.set()
    assert recorder.result(PATIENCE) == 0
    assert host.launched == [0, 1, 2]
    assert host.released == []
    assert recorder.phases == ["running"]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (WorkerLost(3), "The worker exited with code 3 before it answered."),
        (LookupError("no room"), "LookupError: no room"),
    ],
)
def test_a_node_that_cannot_be_had_leaves_none(error: Exception, sentence: str) -> None:
    """If one node cannot be had, the others are given back, and the call ends with its reason."""
    begun, told = threading.Event(), threading.Event()

    def get(node: Preparation) -> None:
        if node.rank == 1:
            assert begun.wait(PATIENCE)
            raise error
        if node.rank == 2:
            begun.set()
            if node.cancelled.wait(PATIENCE):
                told.set()

    host = Scripted(get)
    recorder = record(function("current", host=host, nodes=4)(give))
    exited = recorder.wait(PATIENCE)
    assert isinstance(exited.reason, NodeFailed)
    assert (exited.reason.rank, exited.reason.reason) == (1, sentence)
    assert exited.reason.__cause__ is error
    assert ends_of(recorder) == [exited]
    assert told.is_set()
    assert host.launched == []
    # Those that were not begun when it failed are not begun any more.
    assert {2} <= set(host.released) <= {0, 2, 3}


def test_a_host_that_prepares_nothing_is_named() -> None:
    """A ``prepare`` that returns something else ends the call with a sentence that says so."""
    host = Scripted()
    host.get = lambda node: host if node.rank else None
    with pytest.raises(NodeFailed, match="'prepare' of its host returned NoneType"):
        function("current", host=host, nodes=2)(give)()


def test_a_node_that_goes_before_it_is_launched_ends_the_others() -> None:
    """A launch that fails ends the nodes that were launched, and gives back those that were not."""
    gone = ConnectionError("gone")
    host = Scripted(lambda node: gone if node.rank == 1 else None)

    def wait() -> None:
        for _ in range(100):
            time.sleep(0.01)

    with pytest.raises(NodeFailed, match="ConnectionError: gone") as caught:
        function("current", host=host, nodes=3)(wait)()
    assert caught.value.__cause__ is gone
    assert host.launched == [0, 1]
    assert host.released == [2]


@pytest.mark.faults
@pytest.mark.parametrize("rank", [0, 1])
def test_a_node_whose_host_exits_fails(rank: int) -> None:
    """Code of a host may call ``sys.exit``, in ``prepare`` or in the launch: the call ends."""

    def get(node: Preparation) -> None:
        if node.rank == rank:
            sys.exit("no cluster here")

    recorder = record(function("current", host=Scripted(get), nodes=2)(give))
    reason = recorder.wait(PATIENCE).reason
    assert isinstance(reason, NodeFailed)
    assert (reason.rank, reason.reason) == (rank, "SystemExit: no cluster here")

    leaves = SystemExit("no step")
    host = Scripted(lambda node: leaves if node.rank == rank else None)
    recorder = record(function("current", host=host, nodes=2)(give))
    reason = recorder.wait(PATIENCE).reason
    assert isinstance(reason, NodeFailed)
    assert (reason.rank, reason.reason) == (rank, "SystemExit: no step")


def test_a_launch_that_returns_no_execution_fails() -> None:
    """The error says so: nobody has cancelled the call."""
    host = Scripted(lambda node: launch_group if node.rank else None)
    with pytest.raises(NodeFailed, match="'launch' of its host returned None"):
        function("current", host=host, nodes=2)(give)()


def test_a_launch_that_fails_after_its_end_counts_once() -> None:
    """The call goes on until the other nodes have ended too."""
    others: list[Still] = []
    events: list[Event] = []

    def prepare(node: Preparation) -> Prepared:
        def launch(call: Call, sink: Sink) -> Execution:
            if node.rank == 1:
                sink(Exited(reason=WorkerLost(3)))
                raise OSError("no connection")
            others.append(Stubborn(sink))
            return others[-1]

        return Prepared(address="here", launch=launch)

    launcher = function("current", host=InProcessHost(), nodes=2)(give).make_launcher()
    execution = launch_group(launcher.call(((), {})), events.append, prepare)
    assert wait_until(lambda: bool(others and others[0].asked), PATIENCE)
    assert events == []
    execution.drain()
    assert others[0].asked == ["cancel", "drain"]
    others[0].tell(Exited(reason=Cancelled()))
    (exited,) = events
    assert isinstance(exited, Exited)
    assert str(exited.reason).startswith("Node 1 has failed")


def test_a_request_that_a_new_execution_refuses_ends_it_too() -> None:
    """Where a node raises what it was asked for before it was launched, no node goes on."""
    may_start = threading.Event()
    parts: list[Refusing] = []
    events: list[Event] = []

    def prepare(node: Preparation) -> Prepared:
        def launch(call: Call, sink: Sink) -> Execution:
            parts.append(Refusing(sink))
            return parts[-1]

        assert may_start.wait(PATIENCE)
        return Prepared(address="here", launch=launch)

    launcher = function("current", host=InProcessHost(), nodes=2)(give).make_launcher()
    execution = launch_group(launcher.call(((), {})), events.append, prepare)
    execution.drain()
    may_start.set()
    assert wait_until(lambda: bool(events), PATIENCE)
    (exited,) = events
    assert isinstance(exited, Exited)
    assert "Node 0 has failed" in str(exited.reason)
    assert "OSError: no connection" in str(exited.reason)
    assert [part.asked for part in parts] == [["cancel"]]


def test_a_node_that_cannot_be_cancelled_keeps_no_other_from_it() -> None:
    """What cancelling a node raises goes to whoever cancels, once all were told."""

    def fail(grace: float) -> None:
        raise OSError("no connection")

    parts = Parts()
    parts.nodes[0].cancel = fail  # type: ignore[method-assign]
    with pytest.raises(OSError, match="no connection"):
        parts.execution.cancel(0.1)
    assert parts.nodes[1].asked == parts.nodes[2].asked == ["cancel"]
    parts.end(0)
    (exited,) = parts.events
    assert isinstance(exited, Exited)
    assert isinstance(exited.reason, Cancelled)


def test_a_call_is_cancelled_while_it_waits_for_its_nodes() -> None:
    """Hosts learn that a node is not wanted any more, and nodes that are there are given back."""
    waiting = threading.Barrier(3)

    def get(node: Preparation) -> None:
        waiting.wait(PATIENCE)
        assert node.cancelled.wait(PATIENCE)

    host = Scripted(get)
    recorder = record(function("current", host=host, nodes=2)(give))
    waiting.wait(PATIENCE)
    recorder.cancel(0.1)
    assert isinstance(recorder.wait(PATIENCE).reason, Cancelled)
    assert len(ends_of(recorder)) == 1
    assert sorted(host.released) == [0, 1]
    assert host.launched == []


# -- results ---------------------------------------------------------------------------


def test_the_result_is_that_of_the_first_node() -> None:
    """It comes once all nodes have returned."""
    parts = Parts()
    parts.end(1, "one")
    parts.end(0, "none")
    assert parts.events == []
    parts.end(2, "two")
    outcome, exited = parts.events
    assert isinstance(outcome, Outcome)
    assert b"none" in outcome.sealed.data
    assert exited == Exited()


def test_the_result_does_not_wait_for_the_end_of_a_node() -> None:
    """A node that has returned, and never ends, keeps no result back; nor does it spoil it."""
    parts = Parts()
    for rank in (0, 1):
        parts.end(rank, rank)
    value = seal_plain(2)
    assert value is not None
    parts.nodes[2].tell(Outcome(Sealed(*value)))
    (outcome,) = parts.events
    assert isinstance(outcome, Outcome)
    parts.nodes[2].tell(Exited(reason=WorkerLost(1)))
    assert parts.events == [outcome, Exited()]


def test_what_another_node_raises_is_what_the_call_raises() -> None:
    """Also once the first has returned: a part of the work was not done."""
    parts = Parts()
    parts.end(0, "none")
    parts.end(2, "two", raised=True)
    parts.end(1, "one", raised=True)
    assert wait_until(lambda: len(parts.events) == 2, PATIENCE)
    outcome, exited = parts.events
    assert isinstance(outcome, Outcome)
    assert outcome.raised
    assert b"two" in outcome.sealed.data
    assert exited == Exited()


@pytest.mark.faults
def test_a_node_that_fails_ends_the_others() -> None:
    """The call ends once all have ended, with the first failure as its reason."""
    parts = Parts()
    parts.nodes[1].tell(Exited(7, reason=WorkerLost(7)))
    assert wait_until(lambda: parts.nodes[0].asked == parts.nodes[2].asked == ["cancel"], 60)
    assert wait_until(lambda: bool(parts.events), PATIENCE)
    (exited,) = parts.events
    assert isinstance(exited, Exited)
    assert isinstance(exited.reason, NodeFailed)
    assert (exited.code, exited.reason.rank) == (7, 1)
    assert str(exited.reason).endswith("The worker exited with code 7 before it answered.")


def test_a_node_that_ends_without_an_outcome_has_failed() -> None:
    """A part that ends with neither an outcome nor a reason is lost."""
    parts = Parts()
    parts.nodes[2].tell(Exited())
    assert wait_until(lambda: bool(parts.events), PATIENCE)
    (exited,) = parts.events
    assert isinstance(exited, Exited)
    assert "Node 2 has failed" in str(exited.reason)


def test_one_cancel_ends_all_and_is_no_failure() -> None:
    """What nodes raise because they are cancelled does not count."""
    parts = Parts()
    parts.nodes[1].cancel = lambda grace: parts.end(1, raised=True)  # type: ignore[method-assign]
    parts.execution.cancel(0.1)
    parts.execution.cancel(0.1)
    assert len(parts.events) == 1
    (exited,) = parts.events
    assert isinstance(exited, Exited)
    assert type(exited.reason) is Cancelled


def test_a_node_that_its_host_cancels_cancels_the_call() -> None:
    """Where the host itself ends the call of a node, as when it closes, no node has failed."""
    parts = Parts()
    parts.nodes[1].tell(Exited(reason=Cancelled()))
    assert wait_until(lambda: bool(parts.events), PATIENCE)
    (exited,) = parts.events
    assert isinstance(exited, Exited)
    assert type(exited.reason) is Cancelled


# -- events ----------------------------------------------------------------------------


def test_a_phase_is_that_of_all_nodes() -> None:
    """A call has entered a phase once all of its nodes have; those of a service are the first's."""
    parts = Parts()
    one, two, three = (node.tell for node in parts.nodes)
    for name in ("queued", "building", "starting"):
        one(State(name))  # type: ignore[arg-type]  # these are phases
    two(State("building"))
    assert parts.events == []
    three(State("starting"))
    two(State("running"))
    two(State("ready"))
    two(Ready({"run": "http://two"}))
    one(State("running"))
    three(State("running"))
    one(State("ready"))
    one(Ready({"run": "http://one"}))
    names = [event.name for event in parts.events if isinstance(event, State)]
    assert names == ["building", "starting", "running", "ready"]
    assert parts.events[-1] == Ready({"run": "http://one"})


def test_a_service_drains_on_all_nodes() -> None:
    """Drain reaches every node, and credit the first."""
    parts = Parts()
    parts.execution.drain()
    assert [node.asked for node in parts.nodes] == [["drain"]] * 3


def test_nothing_of_a_node_comes_after_its_end() -> None:
    """A node that goes on after its own end is not heard any more."""
    parts = Parts()
    parts.end(1)
    parts.nodes[1].tell(Log("late"))
    parts.nodes[1].tell(Exited(reason=WorkerLost(1)))
    parts.nodes[0].tell(Log("hello"))
    assert parts.events == [Log("hello", rank=0)]


@pytest.mark.parametrize("at", ["a line", "a result", "an error"])
def test_a_sink_that_raises_ends_the_call(at: str) -> None:
    """What the sink raises is the end of the call, on all nodes."""
    ends: list[Event] = []

    def take(event: Event) -> None:
        if isinstance(event, Exited):
            ends.append(event)
        else:
            raise OSError("the disk is full")

    parts = Parts(take)
    if at == "a line":
        parts.nodes[2].tell(Log("hello"))
        parts.nodes[2].tell(Log("again"))
    elif at == "a result":
        for rank in range(3):
            parts.end(rank)
    else:
        parts.end(1, raised=True)
    assert wait_until(lambda: bool(ends), PATIENCE)
    (exited,) = ends
    assert isinstance(exited, Exited)
    assert "OSError: the disk is full" in str(exited.reason)


def test_what_other_nodes_yield_keeps_nobody_waiting() -> None:
    """The items of a stream are those of the first node; another may yield as many as it likes."""

    @function("current", host=InProcessHost(), nodes=3)
    def count() -> Iterator[int]:
        rank = current_node().rank
        for number in range(1 + 100 * rank):
            yield number + rank
        return

    assert list(count()) == [0]


# -- with workers ----------------------------------------------------------------------


@pytest.fixture
def host() -> Iterator[ProcessGroupHost]:
    host = ProcessGroupHost()
    yield host
    host.close()


def wait_or(action: str) -> None:
    import signal
    import time

    from fal_core import current_node

    if current_node().rank == 1:
        if action == "exit":
            os._exit(3)
        if action == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        raise LookupError(action)
    for _ in range(6000):
        time.sleep(0.01)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("action", "sentence"),
    [
        ("exit", "Worker of 'wait_or' exited with code 3 before it answered."),
        ("die", "Worker of 'wait_or' was killed (SIGKILL)."),
    ],
)
def test_a_worker_that_is_lost_is_named_and_ends_the_others(
    host: ProcessGroupHost, action: str, sentence: str
) -> None:
    """
    If the process of a node ends, those of the others are ended, and the error says which it
    was.
    """
    isolated = function("current", host=host, nodes=3)(wait_or)
    with pytest.raises(NodeFailed, match="Node 1 has failed") as caught:
        isolated(action)
    assert caught.value.reason == sentence
    assert isinstance(caught.value.__cause__, WorkerLost)
    assert wait_until(lambda: all(p.poll() is not None for p in host.processes), PATIENCE)


def test_an_error_of_one_process_ends_the_others(host: ProcessGroupHost) -> None:
    """What a function raises on any node arrives as itself, with a note of the node."""
    recorder = record(function("current", host=host, nodes=3)(wait_or), "gone")
    with pytest.raises(LookupError, match="gone") as caught:
        recorder.result(PATIENCE)
    assert caught.value.__notes__ == ["It was raised on node 1 of 3, at 127.0.0.2."]
    assert len(ends_of(recorder)) == 2
    assert wait_until(lambda: all(p.poll() is not None for p in host.processes), PATIENCE)


@pytest.mark.parametrize("way", ["call", "async", "stream", "async stream", "submit", "map"])
def test_every_kind_of_function_runs_on_all(host: ProcessGroupHost, way: str) -> None:
    """Functions of all kinds know their node, and print for it."""

    def tell() -> Any:
        node = current_node()
        print(node.rank)
        return node

    async def tell_later() -> Any:
        return tell()

    def yield_told() -> Iterator[Any]:
        yield tell()

    async def yield_told_later() -> AsyncIterator[Any]:
        yield tell()

    functions: dict[str, Callable[..., Any]] = {
        "async": tell_later,
        "stream": yield_told,
        "async stream": yield_told_later,
    }
    isolated = function("current", host=host, nodes=2)(functions.get(way, tell))
    expected = (0, ("127.0.0.1", "127.0.0.2"))
    if way == "submit":
        assert isolated.submit().result(PATIENCE) == expected
    elif way == "map":
        mapped = function("current", host=host, nodes=2)(lambda number: (number, tell()))
        assert list(mapped.map(range(3))) == [(number, expected) for number in range(3)]
        assert len(host.processes) == 6
    else:
        recorder = record(isolated)
        result = recorder.result(PATIENCE)
        items = [event for event in recorder.events if isinstance(event, Item)]
        if "stream" in way:
            result = recorder.opener.open_value(items[0].sealed)
        assert len(items) == ("stream" in way)
        assert result == expected
        assert sorted((log.rank, log.message) for log in recorder.printed) == [
            (0, "0"),
            (1, "1"),
        ]
        assert {log.call_id for log in recorder.printed} == {recorder.call and recorder.call.id}


def test_a_timeout_ends_all(host: ProcessGroupHost) -> None:
    """A call that takes longer than it may is ended on every node."""

    def sleep() -> None:
        for _ in range(6000):
            time.sleep(0.01)

    with pytest.raises(Timeout):
        function("current", host=host, nodes=2, timeout=0.5)(sleep)()
    with pytest.raises(Timeout):
        function("current", host=host, nodes=2, request_timeout=0.5)(sleep).submit().result()
    assert wait_until(lambda: all(p.poll() is not None for p in host.processes), PATIENCE)
    assert len(host.processes) == 4


def test_lines_of_a_spawned_call_say_from_which_node(host: ProcessGroupHost) -> None:
    """The queue of a spawned call has the lines of all nodes."""

    def speak() -> int:
        print("hello")
        return current_node().rank

    info = function("current", host=host, nodes=2)(speak).spawn()
    assert info.return_value == 0
    assert sorted(log.rank for log in info.logs.queue) == [0, 1]


def test_each_node_calls_home(host: ProcessGroupHost) -> None:
    """Calls to home of several nodes, which number them alike, get their own answers."""
    home = InProcessHost()

    @function("current", host=home)
    def double(number: int) -> int:
        return 2 * number

    def ask() -> None:
        rank = current_node().rank
        print([double(10 * rank + number) for number in range(20)])

    recorder = record(function("current", host=host, nodes=3)(ask))
    recorder.result(PATIENCE)
    assert sorted((log.rank, log.message) for log in recorder.printed) == [
        (rank, str([20 * rank + 2 * number for number in range(20)])) for rank in range(3)
    ]


# -- attempts --------------------------------------------------------------------------


def test_a_group_is_tried_again_as_a_whole() -> None:
    """With ``retries`` a call whose node has failed is made again on all nodes."""
    failures = [WorkerLost(1), WorkerLost(2)]

    def get(node: Preparation) -> None:
        if node.rank == 1 and failures:
            raise failures.pop()

    host = Scripted(get)
    assert function("current", host=host, nodes=2, retries=2)(give)() == 0
    assert host.launched == [0, 1]
    assert failures == []


def test_what_fails_again_is_not_tried_again() -> None:
    """An environment that cannot be built on a node is no reason for another attempt."""
    tries: list[int] = []

    def get(node: Preparation) -> None:
        tries.append(node.rank)
        if node.rank:
            raise EnvironmentBuildError("virtualenv", "No such package.")

    isolated = function("current", host=Scripted(get), nodes=2, retries=2)(give)
    with pytest.raises(NodeFailed, match="No such package") as caught:
        isolated()
    assert isinstance(caught.value.__cause__, EnvironmentBuildError)
    assert tries.count(1) == 1


def test_an_error_may_be_wrapped() -> None:
    """With ``reraise=False`` the error of a node is the cause, as for any call."""

    def fail() -> None:
        if current_node().rank:
            raise LookupError("gone")

    isolated = function("current", host=InProcessHost(), nodes=2)(fail)
    isolated.reraise = False
    with pytest.raises(UserFunctionException) as caught:
        isolated()
    assert isinstance(caught.value.__cause__, LookupError)
