"""Nodes: what a function learns of the call that it is part of."""

from __future__ import annotations

import marshal
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipe_hosts import PATIENCE, PipeHost

from fal_core import Node, current_node, function
from fal_core.calls import Call
from fal_core.events import Sink
from fal_core.hosts import Execution
from fal_core.wrappers import WrapperHost
from fal_core_worker import current
from fal_core_worker.nodes import ALONE, pack_node, unpack_node
from fal_core_worker.stream.frames import UnreadableFrame
from fal_testing import InProcessHost
from fal_testing.harness.processes import wait_until

SECOND = Node(1, ("10.0.0.1", "10.0.0.2"))


@attrs.define(eq=False, slots=False)
class SecondOfTwo(WrapperHost[..., Any]):
    """Runs each call for the second of two nodes, unless it is told otherwise."""

    name: ClassVar[str] = "second"

    node: Node | None = SECOND

    def launch(self, call: Call, sink: Sink) -> Execution:
        return self.inner.launch(call if self.node is None else call.at_node(self.node), sink)


@pytest.fixture(params=[1, 4], ids=["one at a time", "several at once"])
def host(request: pytest.FixtureRequest, pipe_host: PipeHost) -> SecondOfTwo:
    pipe_host.callbacks["settings"] = {"multiplex": request.param}
    return SecondOfTwo(pipe_host)


def where() -> Node:
    return current_node()


async def where_later() -> Node:
    return current_node()


def yield_where() -> Iterator[Node]:
    yield current_node()


async def yield_where_later() -> AsyncIterator[Node]:
    yield current_node()


def where_in_a_thread() -> Node:
    found: list[Node] = []
    thread = threading.Thread(target=lambda: found.append(current_node()))
    thread.start()
    thread.join()
    return found[0]


def where_in_a_fork() -> int:
    child = os.fork()
    if not child:
        os._exit(current_node().rank + 40)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_outside_of_hosts_there_is_one_node() -> None:
    """Where no host runs a call, the node is the only one."""
    isolated = function("current", host=InProcessHost())(where)
    assert current_node() == Node(0, ("127.0.0.1",)) == isolated.run_local()


def test_a_function_knows_its_node(host: SecondOfTwo) -> None:
    """A function learns its rank and all addresses, whatever kind of function it is."""
    isolated = function("current", host=host)
    assert isolated(where)() == SECOND
    assert list(isolated(yield_where)()) == [SECOND]
    assert list(isolated(where).map()) == []
    spawned = isolated(where_later).spawn()
    assert spawned.return_value == SECOND
    assert list(isolated(yield_where_later).stream()) == [SECOND]


def test_items_of_a_batch_know_their_node(pipe_host: PipeHost) -> None:
    """So does each item of a batch, where a host is given one."""

    @function("current", host=SecondOfTwo(pipe_host))
    def rank_for(number: int) -> int:
        return number + current_node().rank

    assert list(rank_for.map(range(50))) == list(range(1, 51))


def test_what_a_function_starts_knows_its_node(host: SecondOfTwo) -> None:
    """Its threads and the processes that it forks are on the node of the function."""
    assert function("current", host=host)(where_in_a_thread)() == SECOND
    assert function("current", host=host)(where_in_a_fork)() == 41


def test_a_thread_of_an_unknown_call_is_told_so(pipe_host: PipeHost) -> None:
    """
    Where calls of several nodes run in one worker, a thread that one of them has started gets
    an error, and no node of another; so does a process that it forks.
    """
    pipe_host.callbacks["settings"] = {"multiplex": 2}

    def meet(number: int) -> str:
        import threading
        import time

        from fal_core import current_node

        met = sys.modules.setdefault("met", type(sys)("met")).__dict__
        met[number] = True
        while len([each for each in met if isinstance(each, int)]) < 2:
            time.sleep(0.01)
        found: list[str] = []

        def ask() -> None:
            try:
                found.append(str(current_node()))
            except RuntimeError as error:
                found.append(str(error))
            child = os.fork()
            if not child:
                try:
                    current_node()
                except RuntimeError:
                    os._exit(7 if current.runtime is None else 8)
                os._exit(9)
            found.append(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        met[number + 2] = True
        while len([each for each in met if isinstance(each, int)]) < 4:
            time.sleep(0.01)
        return " ".join(found)

    host = SecondOfTwo(pipe_host, node=None)
    isolated = function("current", host=host, max_multiplexing=2)(meet)
    one = isolated.submit(0)
    assert wait_until(lambda: bool(pipe_host.start().executions), PATIENCE)
    host.node = SECOND
    two = isolated.submit(1)
    told = [future.result(PATIENCE) for future in (one, two)]
    assert all("its node is not known" in each for each in told)
    assert all(each.endswith(" 7") for each in told)


def test_the_next_call_is_on_one_node_again(host: SecondOfTwo) -> None:
    """A worker that has run a call of a group runs the next call of none as on one node."""
    isolated = function("current", host=host)(where)
    assert isolated() == SECOND
    host.node = None
    assert isolated() == ALONE
    host.node = Node(2, ("a", "b", "c"))
    assert [isolated() for _ in range(200)] == [host.node] * 200


def test_an_error_says_on_which_node_it_was_raised(host: SecondOfTwo) -> None:
    """What a function raises has a note of its node."""

    @function("current", host=host)
    def fail() -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone") as caught:
        fail()
    assert caught.value.__notes__ == ["It was raised on node 1 of 2, at 10.0.0.2."]


def test_a_worker_without_fal_core_knows_its_node(bare_worker: Any) -> None:
    """Neither a function nor a module that travels needs fal-core in its environment for that."""

    def ask() -> Any:
        from fal_core import Node, current_node

        return current_node() == Node(0, ("127.0.0.1",))

    assert bare_worker(ask, ()) == [True]
    assert bare_worker(where, ()) == [ALONE]


@given(st.lists(st.text(), min_size=1), st.data())
def test_nodes_travel_as_they_are(addresses: list[str], data: st.DataObject) -> None:
    """A node that was packed is unpacked as itself."""
    node = Node(data.draw(st.integers(0, len(addresses) - 1)), tuple(addresses))
    assert unpack_node(pack_node(node)) == node


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"no node",
        pack_node(SECOND)[:-1],
        (pack_node(SECOND), ()),
        *(
            marshal.dumps(value, 2)
            for value in (None, 1, (1,), (0, ()), (2, ("a", "b")), (-1, ("a",)), (0, "a"))
        ),
        *(marshal.dumps(value, 2) for value in ((True, ("a", "b")), (0, (1,)), (0, ["a"]))),
    ],
)
def test_what_is_no_node_is_refused(payload: Any) -> None:
    """Another payload than that of a node is an unreadable frame."""
    with pytest.raises(UnreadableFrame, match="a node"):
        unpack_node(payload)
