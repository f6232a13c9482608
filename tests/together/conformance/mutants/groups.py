"""Hosts that break the laws of groups."""

from __future__ import annotations

import threading

import attrs

from fal_core.calling import LateExecution
from fal_core.calls import Call, Node
from fal_core.errors import WorkerLost
from fal_core.events import Event, Exited, HomeCall, Item, Log, Sink
from fal_core.groups import NodeFailed, Preparation, Prepared, launch_group
from fal_core.hosts import Execution
from mutants.wrappers import Broken, Passing


@attrs.define(eq=False, slots=False)
class AlwaysOnTheSecond(Broken):
    """Runs each call as if it were the second of two."""

    def change(self, call: Call) -> Call:
        return call.at_node(Node(1, ("here", "there")))


@attrs.define(eq=False, slots=False)
class RunsOnFewer(Broken):
    """Runs calls on fewer nodes than they ask for."""

    most: int

    def change(self, call: Call) -> Call:
        return attrs.evolve(call, host_options=attrs.evolve(call.host_options, nodes=self.most))


class Grouping(Broken):
    """Runs groups itself, each node on the inner host. A subclass changes the nodes."""

    def launch(self, call: Call, sink: Sink) -> Execution:
        return launch_group(call, sink, self.prepare)

    def prepare(self, preparation: Preparation) -> Prepared:
        return Prepared(address="127.0.0.1", launch=self.launch_on)

    def launch_on(self, call: Call, sink: Sink) -> Execution:
        assert call.node is not None
        return self.inner.launch(call.at_node(self.move(call.node)), sink)

    def move(self, node: Node) -> Node:
        return node


class CountsBackwards(Grouping):
    """Numbers its nodes from the last to the first."""

    def move(self, node: Node) -> Node:
        return Node(len(node.addresses) - 1 - node.rank, node.addresses)


class TellsWhoIsThere(Grouping):
    """Tells each node only of those that were there before it."""

    def move(self, node: Node) -> Node:
        return Node(node.rank, node.addresses[: node.rank + 1])


class RunsOneAfterAnother(Grouping):
    """Launches a node once the one before it has ended."""

    def launch(self, call: Call, sink: Sink) -> Execution:
        self.ended = threading.Event()
        return super().launch(call, sink)

    def launch_on(self, call: Call, sink: Sink) -> Execution:
        assert call.node is not None
        late = LateExecution(call.id)

        def watch(event: Event) -> None:
            sink(event)
            if isinstance(event, Exited):
                self.ended.set()

        def begin() -> None:
            self.ended.wait(60)
            late.settle(self.inner.launch(call, watch))

        if not call.node.rank:
            return self.inner.launch(call, watch)
        threading.Thread(target=begin, daemon=True).start()
        return late


class StartsWhoIsThere(Broken):
    """Launches each node once it is there, and then gets the next one."""

    def launch(self, call: Call, sink: Sink) -> Execution:
        self.inner.launch(call.at_node(Node(0, ("here", "there"))), self.skip).drain()
        return self.inner.launch(call, sink)

    def skip(self, event: Event) -> None:
        """Take an event of the node that is there before the others."""


class ForgetsTheRank(Broken):
    """Does not say which node has printed a line."""

    def take(self, event: Event, passing: Passing) -> None:
        passing.send_on(attrs.evolve(event, rank=None) if isinstance(event, Log) else event)


class FollowsTheFirstAlone(Broken):
    """Launches all nodes, and looks after the first alone."""

    def launch(self, call: Call, sink: Sink) -> Execution:
        addresses = ("127.0.0.1",) * call.nodes

        def take(event: Event) -> None:
            if isinstance(event, Log):
                sink(attrs.evolve(event, rank=1))

        for rank in range(1, call.nodes):
            self.inner.launch(call.at_node(Node(rank, addresses)), take)
        return self.inner.launch(call.at_node(Node(0, addresses)), sink)


class YieldsForAll(Grouping):
    """Gives what every node yields."""

    def launch(self, call: Call, sink: Sink) -> Execution:
        self.sink = sink
        return super().launch(call, sink)

    def launch_on(self, call: Call, sink: Sink) -> Execution:
        def take(event: Event) -> None:
            if isinstance(event, Item) and call.node is not None and call.node.rank:
                self.sink(event)
            sink(event)

        return self.inner.launch(call, take)


class ConfusesAnswers(Broken):
    """Takes the question of one node for that of another."""

    def take(self, event: Event, passing: Passing) -> None:
        if not isinstance(event, HomeCall):
            passing.send_on(event)
            return
        passing.held.append(event)
        if len(passing.held) == 2:
            one, two = passing.held
            assert isinstance(one, HomeCall)
            assert isinstance(two, HomeCall)
            passing.send_on(HomeCall(one.number, two.sealed))
            passing.send_on(HomeCall(two.number, one.sealed))


class HidesWhichNode(Broken):
    """Says that a worker was lost, and not on which node."""

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Exited) and isinstance(event.reason, NodeFailed):
            event = attrs.evolve(event, reason=WorkerLost(detail="It was one of several."))
        passing.send_on(event)
