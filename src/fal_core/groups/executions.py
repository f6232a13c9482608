"""Executions of calls that run on several nodes: their parts, joined to one."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

import attrs

from fal_core.calls import Call, Node
from fal_core.errors import Cancelled, HostError, WorkerLost
from fal_core.events import (
    Credit,
    Event,
    Exited,
    HomeCall,
    Item,
    Log,
    Message,
    Outcome,
    Phase,
    Reply,
    Sink,
    State,
)
from fal_core.groups.failures import end_by
from fal_core.groups.nodes import GroupNode, Preparation, Prepared
from fal_core.hosts import Execution
from fal_core.sinks.call_sinks import GRACE, failed

#: The phases that a call has entered once all of its nodes have.
_COMMON: tuple[Phase, ...] = ("queued", "building", "starting", "running")


def launch_group(
    call: Call, sink: Sink, prepare: Callable[[Preparation], Prepared]
) -> Execution:
    """
    Launch *call* on all of its nodes, and return at once.

    Arguments:
        prepare: Gets one node, and returns once it is there. It is called on a thread of its
            own for each node, and may take its time. What it raises ends the call.
    """
    group = GroupExecution(call, sink, prepare)
    group.begin()
    return group


class GroupExecution:
    """
    A call on several nodes.

    It starts on all nodes or on none: first each is prepared, and then each is launched, with
    the addresses of all. Its result is that of node 0, and comes once all nodes have returned;
    it ends once all have ended. The first node that fails, or whose function raises, ends the
    others.
    """

    def __init__(
        self, call: Call, sink: Sink, prepare: Callable[[Preparation], Prepared]
    ) -> None:
        self._call = call
        self._sink = sink
        self._prepare = prepare
        self._nodes = [GroupNode(rank, call.id) for rank in range(call.nodes)]
        # Held while the sink takes an event. Cancelling does without it.
        self._delivering = threading.RLock()
        self._phase = -1
        self._outcome: Outcome | None = None
        # How the call ends once the sink has raised.
        self._sink_failed: Exited | None = None
        self._numbers = itertools.count(1)
        # The node of each call to home, and its number there.
        self._calls_home: dict[int, tuple[GroupNode, int]] = {}
        # Guards what follows.
        self._lock = threading.Lock()
        self._unprepared = len(self._nodes)
        self._cancelled = self._succeeded = False
        #: How the call ends where it is not by what node 0 returns.
        self._failure: Outcome | Exited | None = None
        #: Set once no node is wanted any more.
        self._over = threading.Event()

    # -- the execution -----------------------------------------------------------

    @property
    def reference(self) -> str:
        return self._call.id

    def send(self, message: Message) -> None:
        if isinstance(message, Reply):
            waiting = self._calls_home.pop(message.number, None)
            if waiting is not None:
                node, number = waiting
                node.execution.send(attrs.evolve(message, number=number))
        else:
            self._nodes[0].execution.send(message)

    def drain(self) -> None:
        with ExitStack() as stack:
            for node in reversed(self._nodes):
                stack.callback(node.execution.drain)

    def cancel(self, grace: float) -> None:
        with self._lock:
            self._cancelled = self._cancelled or self._failure is None
        self._over.set()
        _cancel_all(self._nodes, grace)

    # -- the start ---------------------------------------------------------------

    def begin(self) -> None:
        """Have all nodes prepared, each on a thread of its own."""
        for node in self._nodes:
            name = f"node {node.rank} of call {self._call.id}"
            threading.Thread(target=self._get, args=(node,), name=name, daemon=True).start()

    def _get(self, node: GroupNode) -> None:
        """Get *node*; the thread that gets the last one launches the call on all."""
        preparation = Preparation(
            call=self._call,
            rank=node.rank,
            report=partial(self._take, node),
            cancelled=self._over,
        )
        try:
            if not self._over.is_set():
                node.prepared = _checked(self._prepare(preparation))
        except BaseException as error:
            self._fail(node, end_by(node.rank, error))
        finally:
            with self._lock:
                self._unprepared -= 1
                is_last = not self._unprepared
            if is_last:
                self._launch_all()

    def _launch_all(self) -> None:
        addresses = tuple(node.prepared.address for node in self._nodes if node.prepared)
        for node in self._nodes:
            execution = None
            try:
                if self._over.is_set():
                    if node.prepared is not None:
                        node.prepared.release()
                elif node.prepared is not None:
                    call = self._call.at_node(Node(node.rank, addresses))
                    execution = node.prepared.launch(call, partial(self._take, node))
                    if execution is None:
                        raise HostError("'launch' of its host returned None, no execution.")
                    node.execution.settle(execution)
            except BaseException as error:
                # One that runs, and raises what it was asked for before, is ended as well.
                ended = node if execution is None else None
                self._fail(ended, end_by(node.rank, error))
            if execution is None:
                node.execution.settle(None)
                self._end(node)

    # -- events --------------------------------------------------------------------

    def _take(self, node: GroupNode, event: Event) -> None:
        """Take an event of *node*."""
        with self._delivering:
            if node.ended:
                return
            if isinstance(event, Log):
                self._deliver(attrs.evolve(event, rank=node.rank))
            elif isinstance(event, State):
                self._enter(node, event)
            elif isinstance(event, HomeCall):
                self._call_home(node, event)
            elif isinstance(event, Outcome):
                self._note_outcome(node, event)
            elif isinstance(event, Exited):
                self._note_end(node, event)
            elif not node.rank:
                self._deliver(event)
            elif isinstance(event, Item) and self._call.stream:
                # Nobody takes it, and the node may have more to do before it ends.
                node.execution.send(Credit(event.count))

    def _enter(self, node: GroupNode, state: State) -> None:
        """Deliver the phase that all nodes have entered now, if it is another one."""
        if state.name not in _COMMON:
            if not node.rank:
                self._deliver(state)
            return
        node.phase = max(node.phase, _COMMON.index(state.name))
        phase = min(each.phase for each in self._nodes)
        if phase > self._phase:
            self._phase = phase
            self._deliver(State(_COMMON[phase]))

    def _call_home(self, node: GroupNode, call: HomeCall) -> None:
        # Each node numbers its own from 1 on.
        number = next(self._numbers)
        self._calls_home[number] = node, call.number
        self._deliver(HomeCall(number, call.sealed))

    def _note_outcome(self, node: GroupNode, outcome: Outcome) -> None:
        if outcome.raised:
            self._fail(node, outcome)
            return
        node.returned = True
        if not node.rank:
            # Another node may still fail.
            self._outcome = outcome
        have_returned = all(each.returned for each in self._nodes)
        with self._lock:
            self._succeeded = have_returned and self._failure is None
        if self._succeeded and self._outcome is not None:
            self._deliver(self._outcome)

    def _note_end(self, node: GroupNode, exited: Exited) -> None:
        if exited.reason is not None:
            reason = end_by(node.rank, exited.reason).reason
            self._fail(node, attrs.evolve(exited, reason=reason))
        elif not node.returned:
            self._fail(node, end_by(node.rank, WorkerLost(detail="It sent no outcome.")))
        self._end(node)

    def _deliver(self, event: Event) -> None:
        if self._sink_failed is not None:
            return
        try:
            self._sink(event)
        except Exception as error:
            self._sink_failed = failed(error)
            self._fail(None, self._sink_failed)

    # -- the end -------------------------------------------------------------------

    def _fail(self, node: GroupNode | None, failure: Outcome | Exited) -> None:
        """End the call on all nodes but *node*, which has ended, unless the call ends already."""
        with self._lock:
            if self._cancelled or self._succeeded or self._failure is not None:
                return
            self._failure = failure
        self._over.set()
        others = [each for each in self._nodes if each is not node]
        # The thread that is here may hold a lock which cancelling needs.
        name = f"end of call {self._call.id}"
        threading.Thread(
            target=_cancel_all, args=(others, GRACE), name=name, daemon=True
        ).start()

    def _end(self, node: GroupNode) -> None:
        with self._delivering:
            # A launch that fails may have reported its end before.
            if node.ended:
                return
            node.ended = True
            if all(each.ended for each in self._nodes):
                self._finish()

    def _finish(self) -> None:
        """Deliver how the call has ended: all nodes have."""
        failure = self._failure
        if failure is None and not self._succeeded:
            failure = Exited(reason=Cancelled())
        try:
            if isinstance(failure, Outcome):
                self._deliver(failure)
        finally:
            exited = failure if isinstance(failure, Exited) else Exited()
            self._sink(self._sink_failed or exited)


def _cancel_all(nodes: Sequence[GroupNode], grace: float) -> None:
    # All of them, also if cancelling one raises.
    with ExitStack() as stack:
        for node in reversed(nodes):
            stack.callback(node.execution.cancel, grace)


def _checked(prepared: object) -> Prepared:
    if not isinstance(prepared, Prepared):
        kind = type(prepared).__name__
        raise HostError(f"'prepare' of its host returned {kind}, which is no 'Prepared'.")
    return prepared
