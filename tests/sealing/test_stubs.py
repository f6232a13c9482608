"""Isolated functions that travel inside of others, to workers without fal-core."""

from __future__ import annotations

from typing import Any

from fal_core import WorkerLost, errors, find_missing_dependencies, function
from fal_core.sealing.functions import seal_function
from fal_core.sealing.stubs import reduce_function, sealing
from fal_testing import InProcessHost

shared = function("current", host=InProcessHost())


def name_what_stays(way: str) -> Any:
    if way == "decorator":
        return shared(len)("four")
    if way == "declaration":
        return function("current")(len)("four")
    if way == "other":
        return find_missing_dependencies(len, {})
    try:
        return "right"
    except (WorkerLost, errors.FalCoreError):
        return "wrong"


def test_code_that_names_its_host_travels_without_it(bare_worker: Any) -> None:
    """The code travels without its host, and raises in the worker only where it uses the host."""
    ways = ("nothing", "decorator", "declaration", "other")
    for portable in (False, True):
        seal = seal_function(name_what_stays, portable=portable)
        # Neither the host nor this test's module with all it imports goes along.
        assert len(seal.sealed.native.data) < 4000
        assert seal.sealed.refusal == ""
        calls = [(way,) for way in ways]
        right, *told = bare_worker(None, *calls, native=not portable, seal=seal)
        assert right == "right"
        assert [type(error) for error in told] == [RuntimeError] * 3
        assert "'len' was declared in a worker, which has no home" in str(told[0])
        assert "'len' was declared in a worker, which has no home" in str(told[1])
        assert "fal_core.find_missing_dependencies is not there in a worker" in str(told[2])


def test_a_function_of_several_nodes_runs_in_no_worker_of_another() -> None:
    """
    Functions of one place run in one worker, unless one of them runs on several nodes: a call
    over several nodes is a call of its own, and so is one from there.
    """
    host = InProcessHost()
    alone, one = (function("current", host=host, nodes=nodes)(len) for nodes in (None, 1))
    several = function("current", host=host, nodes=2)(len)
    for outer in (alone, one, several):
        with sealing(outer.declaration):
            for inner in (alone, one, several):
                _, _, state = reduce_function(inner)
                in_place = outer is not several and inner is not several
                assert (state["function"] is len) is in_place
