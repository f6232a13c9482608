"""Isolated functions, made without the decorator."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fal_core import function
from fal_core.errors import OptionError
from fal_core.functions import IsolatedFunction
from fal_core.options import Options
from fal_testing import InProcessHost


def answer() -> int:
    """Return a number; it is not run."""
    return 42


def test_isolated_functions_are_made_as_documented() -> None:
    """The host, the function and its options are given; the executor is there all the same."""
    host = InProcessHost()
    with pytest.raises(TypeError, match="options"):
        IsolatedFunction(host, answer)  # type: ignore[call-arg]  # wrong on purpose
    isolated = IsolatedFunction(host, answer, Options(environment={"kind": "current"}))
    assert isinstance(isolated.executor, ThreadPoolExecutor)
    assert isolated.executor is isolated.executor
    isolated.executor.shutdown()


def test_callers_that_there_is_no_way_to_authorise() -> None:
    """
    A host refuses to run a function for callers whom there is no way to authorise, with the
    ways that there are.
    """
    options = Options(environment={"kind": "current"})
    for run in (InProcessHost().run, InProcessHost().spawn):
        with pytest.raises(OptionError, match="'public', 'private', 'shared' or None"):
            run(answer, options, (), {}, application_auth_mode="secret")  # type: ignore[arg-type]


def test_parameters_may_have_any_name() -> None:
    """A parameter may be called as those of our own methods are."""
    host = InProcessHost()

    def name(self: int, function: int = 0) -> int:
        return self + function

    def names(self: int) -> Iterator[int]:
        yield self

    isolated = function("current", host=host)(name)
    items: Any = function("current", host=host)(names)
    assert isolated(self=1, function=2) == isolated.run_local(self=1, function=2) == 3
    assert isolated.submit(self=1).result(30) == isolated.spawn(self=1).return_value == 1
    assert list(items(self=4)) == list(items.stream(self=4)) == [4]

    async def meet() -> list[int]:
        return [await isolated.aio(self=5), *[each async for each in items.aio.stream(self=6)]]

    assert asyncio.run(meet()) == [5, 6]
