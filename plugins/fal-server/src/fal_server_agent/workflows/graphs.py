"""
Graphs: the nodes of a workflow, what each is given, and in which order they run.

A text that begins with ``$`` refers to a value: ``$input.prompt`` to a part of what the
workflow is given, and ``$node.images.0`` to a part of what a node has returned.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from graphlib import CycleError, TopologicalSorter
from typing import Any

#: The most nodes, and the deepest that values in a graph are nested.
_MOST, _DEEPEST = 200, 50

#: How many nodes run at once.
_AT_ONCE = 8

#: The name of what a workflow is given.
_INPUT = "input"

_APPLICATION = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)+")

#: Calls an application with its input, and returns its output.
Call = Callable[[str, Any], Any]


class BadGraph(ValueError):
    """A workflow cannot be run. The argument is a sentence."""


class NoValue(LookupError):
    """A reference leads to nothing. The argument is a sentence."""


class Graph:
    """
    The nodes of a workflow.

    Arguments:
        applications: The application of each node, by the name of the node. Those that only
            show something have none.

        inputs: What each node is given.

        output: What the workflow returns.
    """

    def __init__(
        self, applications: Mapping[str, str], inputs: Mapping[str, Any], output: Any
    ) -> None:
        self.applications = applications
        self.inputs = inputs
        self.output = output

    @classmethod
    def read(cls, contents: Any) -> Graph:
        """
        Read a workflow as clients publish it.

        Raises:
            BadGraph: It cannot be run.
        """
        nodes = contents.get("nodes") if isinstance(contents, dict) else None
        if not isinstance(nodes, dict) or len(nodes) > _MOST:
            raise BadGraph(f"'nodes' of a workflow must be an object of at most {_MOST} nodes.")
        applications, inputs = {}, {}
        for name, node in nodes.items():
            kind = node.get("type") if isinstance(node, dict) else None
            if kind == "display":
                # It shows something to users who run the workflow in a program of their own.
                continue
            application = node.get("app") if kind == "run" else None
            if not isinstance(application, str) or not _APPLICATION.fullmatch(application):
                raise BadGraph(
                    f"Node {name[:80]!r} must have the type 'run' or 'display', and 'app' of "
                    "one that runs must be an application, as in 'owner/name'."
                )
            applications[name], inputs[name] = application, node.get("input")
        graph = cls(applications, inputs, contents.get("output"))
        graph._check()
        return graph

    def _check(self) -> None:
        for what in (*self.inputs.values(), self.output):
            for name in _references(what):
                if name != _INPUT and name not in self.inputs:
                    raise BadGraph(f"There is no node {name[:80]!r}, which a value refers to.")
        try:
            self._sorter().prepare()
        except CycleError as error:
            names = ", ".join(map(repr, error.args[1]))
            raise BadGraph(f"Nodes wait for each other: {names[:200]}.") from None

    def _sorter(self) -> TopologicalSorter[str]:
        return TopologicalSorter(
            {name: {*_references(given)} - {_INPUT} for name, given in self.inputs.items()}
        )

    def run(self, given: Any, call: Call) -> Any:
        """
        Run all nodes, each once what it refers to is there, and return the output.

        Raises:
            NoValue: A reference leads to nothing.
        """
        values, sorter = {_INPUT: given}, self._sorter()
        sorter.prepare()
        running: dict[Future[Any], str] = {}
        with ThreadPoolExecutor(_AT_ONCE, "node") as threads:
            try:
                while sorter.is_active():
                    for name in sorter.get_ready():
                        told = _fill(self.inputs[name], values)
                        running[threads.submit(call, self.applications[name], told)] = name
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for each in done:
                        name = running.pop(each)
                        values[name] = each.result()
                        sorter.done(name)
            finally:
                for each in running:
                    each.cancel()
        return _fill(self.output, values)


def _references(value: Any, depth: int = 0) -> Iterator[str]:
    """Yield the names that a value refers to."""
    if depth > _DEEPEST:
        raise BadGraph(f"A value is nested more than {_DEEPEST} times.")
    if isinstance(value, str) and value.startswith("$"):
        yield value[1:].split(".", 1)[0]
    elif isinstance(value, (dict, list)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _references(each, depth + 1)


def _fill(value: Any, values: Mapping[str, Any]) -> Any:
    """Return a value with what it refers to in place of the references."""
    if isinstance(value, dict):
        return {name: _fill(each, values) for name, each in value.items()}
    if isinstance(value, list):
        return [_fill(each, values) for each in value]
    if not (isinstance(value, str) and value.startswith("$")):
        return value
    name, *rest = value[1:].split(".")
    found = values[name]
    for part in rest:
        try:
            found = found[int(part)] if isinstance(found, list) else found[part]
        except (LookupError, TypeError, ValueError):
            raise NoValue(
                f"{value[:80]} leads to nothing: there is no {part[:80]!r}."
            ) from None
    return found
