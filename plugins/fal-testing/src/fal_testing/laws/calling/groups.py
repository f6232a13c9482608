"""Laws of groups: calls that run on several nodes at once."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from threading import Event
from typing import Any

import attrs
import pytest

from fal_core import current_node, function
from fal_core.errors import EnvironmentBuildError
from fal_core.events import Exited
from fal_core.groups import NodeFailed
from fal_core.hosts import Host
from fal_testing.harness.builds import with_build
from fal_testing.harness.capabilities import requires
from fal_testing.harness.expectations import expect, expect_cancelled, expect_error
from fal_testing.harness.marks import Isolated, Marks
from fal_testing.harness.meetings import meet
from fal_testing.harness.processes import wait_until
from fal_testing.harness.recorders import Follow, Recorder
from fal_testing.hosts.in_process import InProcessHost

LOOK = (
    "Launch the call once for each node, with `call.at_node(Node(rank, addresses))`, and join "
    "the executions, as launch_group does."
)

#: The most nodes that a law asks for.
_MOST = 8


def test_a_call_is_on_one_node_where_nothing_else_is_said(isolated: Isolated) -> None:
    """A function without ``nodes`` is on node 0 of 1, in every worker."""

    @isolated()
    def locate_alone() -> tuple[int, int]:
        rank, addresses = current_node()
        return rank, len(addresses)

    expect(locate_alone(), (0, 1), "The rank of a node, and the number of nodes", LOOK)


@requires("nodes 2")
def test_the_result_of_a_group_is_that_of_its_first_node(isolated: Isolated) -> None:
    """A call on two nodes returns what the function returns on node 0."""

    @isolated(nodes=2)
    def give_rank() -> int:
        return current_node().rank

    expect(give_rank(), 0, "The rank of the node whose result has arrived", LOOK)


@requires("nodes 2")
def test_each_node_knows_itself_and_where_all_are(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """
    Each node runs the function once, and knows its number and the addresses of all: none
    begins before all are there.
    """

    @isolated(nodes=2)
    def introduce_node() -> None:
        import json

        print(json.dumps(current_node()))

    recorder = follow(introduce_node)
    recorder.result(law_timeout)
    told = _read(recorder)
    expect([rank for rank, _ in told], [0, 1], "The ranks of the nodes that ran", LOOK)
    (_, addresses), (_, others) = told
    expect(others, addresses, "The addresses that node 1 knows, beside those of node 0", LOOK)
    are_texts = [isinstance(address, str) and bool(address) for address in addresses]
    expect(are_texts, [True] * 2, f"Which of the addresses {addresses} are texts", LOOK)


@requires("nodes 2")
def test_a_group_may_have_as_many_nodes_as_are_claimed(
    host: Host[..., Any], isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """A call runs on as many nodes as ``capabilities.nodes`` says."""
    count = min(host.capabilities.nodes, _MOST)

    @isolated(nodes=count)
    def count_nodes() -> None:
        import json

        print(json.dumps(current_node()))

    recorder = follow(count_nodes)
    recorder.result(law_timeout)
    ranks = [rank for rank, _ in _read(recorder)]
    expect(ranks, [*range(count)], f"The ranks of {count} nodes, as many as are claimed", LOOK)


@requires("nodes 2", "home_calls")
def test_the_nodes_of_a_group_run_at_once(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """Nodes can wait for each other."""
    name, patience = os.urandom(8).hex(), law_timeout / 4

    @function("current", host=InProcessHost())
    def wait_at_home(rank: int) -> bool:
        return meet(name, rank, 2, patience)

    @isolated(nodes=2)
    def meet_at_home() -> bool:
        return bool(wait_at_home(current_node().rank))

    assert follow(meet_at_home).result(law_timeout), (
        f"Node 0 waited {patience:g} s for node 1, which did not run meanwhile. {LOOK}"
    )


@requires("nodes 2")
def test_a_group_runs_on_all_nodes_or_on_none(
    isolated: Isolated, marks: Marks, law_timeout: float
) -> None:
    """
    Where the environment of one node cannot be built, the function runs on no other: a node
    begins once all are there. A host that builds once for all nodes runs it on all.
    """
    add, built = marks.add, itertools.count()

    @isolated(nodes=2)
    def run_on_all_or_none() -> None:
        print("ran")
        add(f"ran on {current_node().rank}")

    def build_once(_: Event) -> None:
        if next(built):
            raise EnvironmentBuildError("law", "This law lets it be built once.")

    recorder = Recorder(run_on_all_or_none.make_launcher())
    call = recorder.launcher.call(((), {}))
    environment = with_build(call.environment, build_once)
    recorder.call = call = attrs.evolve(call, environment=environment)
    recorder.follow(recorder.launcher.host.launch(call, recorder))
    exited = recorder.wait(law_timeout)
    if not next(built):
        pytest.skip("The host asks for no build in this process.")
    if exited.reason is None:
        ranks = sorted(log.rank or 0 for log in recorder.printed)
        expect(ranks, [0, 1], "The nodes that ran of a group which has ended well", LOOK)
        return
    expect(marks.read(), [], "The nodes that ran, while another could not be had", LOOK)
    assert isinstance(exited.reason, NodeFailed), (
        f"The reason in Exited: expected NodeFailed, found {exited.reason!r}. {LOOK}"
    )


@requires("nodes 2")
def test_lines_of_all_nodes_arrive_and_say_from_which(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """What each node prints arrives in its order, with the number of the node as its ``rank``."""

    @isolated(nodes=2)
    def speak_on_all() -> None:
        for number in range(20):
            print(f"{current_node().rank} says {number}")

    recorder = follow(speak_on_all)
    recorder.result(law_timeout)
    for rank in range(2):
        lines = [log.message for log in recorder.printed if log.rank == rank]
        said = [f"{rank} says {number}" for number in range(20)]
        look = f"Pass on each Log of a node, with its rank. These events came: {recorder.told}."
        expect(lines, said, f"The lines of node {rank}", look)
    expect(len(recorder.printed), 40, "The number of lines of both nodes", look)


@requires("nodes 2")
def test_an_async_function_runs_on_all_nodes(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """A coroutine knows its node, too."""

    @isolated(nodes=2)
    async def locate_later() -> None:
        import asyncio
        import json

        await asyncio.sleep(0)
        print(json.dumps(current_node()))

    recorder = follow(locate_later)
    recorder.result(law_timeout)
    found = [(rank, len(addresses)) for rank, addresses in _read(recorder)]
    expect(found, [(0, 2), (1, 2)], "The ranks, and the number of nodes that each knows", LOOK)


@requires("nodes 2", "stream")
def test_the_items_of_a_group_are_those_of_its_first_node(isolated: Isolated) -> None:
    """What other nodes yield is dropped, however much it is, and keeps nobody waiting."""

    @isolated(nodes=2)
    def yield_rank() -> Iterator[int]:
        rank = current_node().rank
        for _ in range(3 + 100 * rank):
            yield rank

    look = "Drop the items of other nodes, and give these nodes credit for them."
    expect(list(yield_rank()), [0, 0, 0], "The items of a group", look)


@requires("nodes 2")
def test_a_map_runs_each_item_on_all_nodes(isolated: Isolated) -> None:
    """Each item of a map is a call on all nodes."""

    @isolated(nodes=2)
    def measure_item(item: int) -> tuple[int, int, int]:
        rank, addresses = current_node()
        return item, rank, len(addresses)

    expect(
        list(measure_item.map(range(4))),
        [(item, 0, 2) for item in range(4)],
        "The items of a map, each with its rank and number of nodes",
        LOOK,
    )


@requires("nodes 2", "home_calls")
def test_every_node_calls_home(isolated: Isolated, follow: Follow, law_timeout: float) -> None:
    """Each node gets the answers to its own calls of functions at home."""
    name = os.urandom(8).hex()

    @function("current", host=InProcessHost())
    def answer_at_home(rank: int) -> int:
        # Both ask before either is answered.
        meet(name, rank, 2, law_timeout / 4)
        return rank * 10

    @isolated(nodes=2)
    def ask_on_all() -> None:
        import json

        rank = current_node().rank
        print(json.dumps([rank, answer_at_home(rank)]))

    recorder = follow(ask_on_all)
    recorder.result(law_timeout)
    look = "Give the Reply to a HomeCall to the node that has asked."
    expect(_read(recorder), [[0, 0], [1, 10]], "The ranks, and the answers from home", look)


@requires("nodes 2", "stream")
def test_an_error_on_any_node_is_that_of_the_call(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """What the function raises on node 1 ends the others, and arrives with a note of its node."""
    seconds = law_timeout / 4

    @isolated(nodes=2)
    def fail_on_the_second() -> Iterator[int]:
        import time

        if current_node().rank == 1:
            raise LookupError("gone")
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            yield 0
            time.sleep(0.01)

    recorder = follow(fail_on_the_second)
    with expect_error(LookupError, LOOK, match="gone") as caught:
        recorder.result(law_timeout)
    notes: list[str] = getattr(caught.value, "__notes__", [])
    assert any("node 1" in note for note in notes), (
        f"The notes of the error: expected one that names node 1, found {notes}. {LOOK}"
    )


@requires("nodes 2", "crash")
def test_a_node_that_is_lost_is_named(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """If the worker of node 1 ends, the call ends with a ``NodeFailed`` that says so."""
    seconds = law_timeout / 4

    @isolated(nodes=2)
    def leave_on_the_second() -> None:
        import os
        import time

        if current_node().rank == 1:
            os._exit(3)
        time.sleep(seconds)

    exited = follow(leave_on_the_second).wait(law_timeout)
    reason = exited.reason
    assert isinstance(reason, NodeFailed), (
        f"The reason in Exited: expected NodeFailed, found {reason!r}. {LOOK}"
    )
    expect(reason.rank, 1, "The rank of the node that failed", LOOK)


@requires("nodes 2", "stream")
def test_one_cancel_ends_all_nodes(
    isolated: Isolated, follow: Follow, marks: Marks, law_timeout: float
) -> None:
    """A call that is cancelled has one end, ``Cancelled``, and its function ends on every node."""
    add = marks.add

    @isolated(nodes=2)
    def tick_on_all() -> Iterator[int]:
        import time

        rank = current_node().rank
        add(f"{rank} began")
        print("began")
        try:
            while True:
                yield rank
                time.sleep(0.01)
        finally:
            add(f"{rank} ended")

    recorder = follow(tick_on_all)
    assert wait_until(lambda: len(recorder.printed) == 2, law_timeout), (
        f"Two nodes should have begun. These events came: {recorder.told}. {LOOK}"
    )
    recorder.cancel(law_timeout / 4)
    expect_cancelled(recorder, law_timeout, "a cancelled group", LOOK)
    ends = sum(isinstance(event, Exited) for event in recorder.events)
    expect(ends, 1, "The number of Exited of a group", LOOK)

    def left() -> set[str]:
        # Nodes on other machines leave their marks there.
        lines = marks.read()
        began = {line.partition(" ")[0] for line in lines if line.endswith("began")}
        return began - {line.partition(" ")[0] for line in lines if line.endswith("ended")}

    assert wait_until(lambda: not left(), law_timeout), (
        f"A group was cancelled, and these nodes go on: {sorted(left())}. Cancel all of them."
    )


def _read(recorder: Recorder) -> list[Any]:
    """Return what the nodes printed as JSON, by rank."""
    return sorted(json.loads(log.message) for log in recorder.printed)
