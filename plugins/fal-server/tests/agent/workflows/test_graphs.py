"""Graphs: the nodes of a workflow, and what each is given."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from fal_server_agent.workflows.graphs import BadGraph, Graph, NoValue


def node(app: str, given: Any) -> dict[str, Any]:
    return {"type": "run", "app": app, "input": given, "depends": []}


def test_nodes_get_what_they_refer_to():
    """Each node runs once what it refers to is there, and the output is put together of all."""
    graph = Graph.read(
        {
            "nodes": {
                "b": node("owner/join", {"words": ["$a.list.1", "$input.word", "$a.n"]}),
                "a": node("owner/make", {"deep": {"word": "$input.word"}}),
                "shown": {"type": "display", "id": "shown", "fields": ["$b"]},
            },
            "output": {"all": "$b", "same": "plain"},
        }
    )
    called = []

    def call(application: str, given: Any) -> Any:
        called.append((application, given))
        return {"list": [1, 2], "n": 3} if application == "owner/make" else "joined"

    assert graph.run({"word": "w"}, call) == {"all": "joined", "same": "plain"}
    assert called == [
        ("owner/make", {"deep": {"word": "w"}}),
        ("owner/join", {"words": [2, "w", 3]}),
    ]


def test_nodes_run_side_by_side():
    """Nodes that do not wait for each other run at the same time."""
    both = threading.Barrier(2)
    graph = Graph.read(
        {"nodes": {"a": node("o/x", 1), "b": node("o/x", 2)}, "output": ["$a", "$b"]}
    )

    def call(_: str, given: Any) -> Any:
        both.wait(60)
        return given

    assert graph.run(None, call) == [1, 2]


def test_errors_of_nodes_end_the_workflow():
    """The error of a node is that of the workflow, and what waits for the node does not run."""
    graph = Graph.read({"nodes": {"a": node("o/x", 1), "b": node("o/y", "$a")}, "output": "$b"})
    called = []

    def call(application: str, _: Any) -> Any:
        called.append(application)
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        graph.run(None, call)
    assert called == ["o/x"]


@pytest.mark.parametrize("reference", ["$input.none", "$input.list.7", "$input.word.x"])
def test_references_that_lead_to_nothing(reference: str):
    """A reference that leads to nothing is named."""
    graph = Graph.read({"nodes": {}, "output": reference})
    with pytest.raises(NoValue, match="leads to nothing"):
        graph.run({"list": [1], "word": "w"}, lambda *_: None)


@pytest.mark.parametrize(
    ("contents", "why"),
    [
        (None, "'nodes'"),
        ({"nodes": []}, "'nodes'"),
        ({"nodes": {"a": 1}}, "Node 'a'"),
        ({"nodes": {"a": node("https://elsewhere", 1)}}, "must be an application"),
        ({"nodes": {"a": node("owner/../x", 1)}}, "must be an application"),
        ({"nodes": {"a": node("alone", 1)}}, "must be an application"),
        ({"nodes": {"a": node("o/x", "$b")}}, "no node 'b'"),
        ({"nodes": {"a": node("o/x", "$b"), "b": node("o/x", "$a")}}, "wait for each other"),
        ({"nodes": {"a": node("o/x", "$a")}}, "wait for each other"),
        ({"nodes": {}, "output": "$none.x"}, "no node 'none'"),
        ({"nodes": {str(number): node("o/x", 1) for number in range(201)}}, "at most 200"),
    ],
)
def test_graphs_that_cannot_be_run(contents: Any, why: str):
    """A workflow that cannot be run is refused with what is wrong."""
    with pytest.raises(BadGraph, match=why):
        Graph.read(contents)
