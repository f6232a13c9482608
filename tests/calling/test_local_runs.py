"""Calls of a function in this process."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from fal_core import function
from fal_testing import InProcessHost, ProcessHost


def count_setups() -> tuple[list[int], Callable[[], int]]:
    """Return a list that grows with each call of the function beside it."""
    made: list[int] = []

    def load() -> int:
        made.append(1)
        return 40 + len(made)

    return made, load


def test_setup_function_runs_before_the_first_local_run() -> None:
    """A local run is given what the ``setup_function`` returned, which runs once."""
    made, load = count_setups()

    @function("current", host=InProcessHost(), setup_function=load)
    def add(loaded: int, number: int) -> int:
        return loaded + number

    other = add.on(setup_function=load)
    run: Any = add.run_local
    assert [run(1), run(2)] == [42, 43]
    assert len(made) == 1
    assert other.run_local(1) == 43  # type: ignore[call-arg]
    assert pickle.loads(pickle.dumps(made)) == [1, 1]


def test_setup_function_of_coroutine_functions_and_methods() -> None:
    """Coroutine functions and methods are given the result of the setup as well."""
    _, load = count_setups()

    class Scale:
        @function("current", host=InProcessHost(), setup_function=load)
        def times(loaded: int, self: Any, number: int) -> int:  # as in a worker
            return loaded * number

    @function("current", host=InProcessHost(), setup_function=load)
    async def add(loaded: int, number: int) -> int:
        return loaded + number

    scale: Any = Scale()
    assert scale.times.run_local(2) == 82
    assert add.run_local(1) == 43  # type: ignore[call-arg]


def test_function_with_a_setup_is_not_run_in_the_worker_of_another() -> None:
    """An isolated function that another one calls is given the result of its own setup."""
    host = ProcessHost()

    def load() -> int:
        return 41

    @function("current", host=host, setup_function=load)
    def inner(loaded: int, number: int) -> int:
        return loaded + number

    @function("current", host=host)
    def outer() -> int:
        call: Any = inner
        return int(call(1))

    assert outer() == 42
