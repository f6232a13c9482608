"""Isolated functions that are used inside a worker."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from pipe_hosts import PipeHost

from fal_core import function
from fal_core_worker.opening.stubs import make_stub
from fal_testing import InProcessHost


@pytest.mark.parametrize(
    "name", ["spawn", "on", "with_policy", "aio", "options", "func", "host"]
)
def test_error_for_a_missing_part_names_the_usable_ones(name: str) -> None:
    """
    Using a part of an isolated function that only the caller's process has is an error in
    a worker, which says what can be used there.
    """

    @function("current", host=InProcessHost())
    def inner(number: int) -> int:
        return number + 1

    @function("current", host=InProcessHost())
    def outer(name: str) -> Any:
        assert inner(1) == 2
        return getattr(inner, name)

    told = f"'inner' has no '{name}' in a worker: .* submit, map, stream and run_local"
    with pytest.raises(AttributeError, match=told):
        outer(name)


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("place", ["here", "home"])
def test_exit_of_a_function_is_an_error_of_its_caller(
    pipe_host: PipeHost, place: str, asynchronous: bool
) -> None:
    """A function that exits does not end the one that calls it, in place or at home."""
    host: Any = pipe_host if place == "here" else InProcessHost()

    @function("current", host=host)
    def inner() -> None:
        raise SystemExit(3)

    @function("current", host=host)
    async def inner_async() -> None:
        raise SystemExit(3)

    @function("current", host=pipe_host)
    async def outer(asynchronous: bool) -> tuple[str, str]:
        try:
            if not asynchronous:
                inner()
            else:
                value = inner_async()
                # At home it is awaited.
                await value
        except Exception as error:
            return type(error).__name__, str(error)
        return "none", ""

    assert outer(asynchronous) == ("UserFunctionException", "The function raised SystemExit: 3")


@pytest.mark.parametrize("place", ["here", "home"])
def test_submitted_call_runs_and_cannot_be_cancelled(
    pipe_host: PipeHost, place: str, tmp_path: Path
) -> None:
    """
    A call that is submitted inside a worker says that it runs, and that cancelling does not
    end it; it goes on to its result.
    """
    goes_on = tmp_path / "goes_on"

    @function("current", host=pipe_host if place == "here" else InProcessHost())
    def inner() -> int:
        while not goes_on.exists():
            time.sleep(0.01)
        return 3

    @function("current", host=pipe_host)
    def outer() -> tuple[bool, bool, bool, int]:
        future = inner.submit()
        told = future.running(), future.cancel(), future.cancelled()
        goes_on.touch()
        return (*told, future.result(60))

    assert outer() == (True, False, False, 3)


def test_stream_in_place_ends_with_what_the_generator_returns() -> None:
    """A generator function that runs in the same worker keeps its return value."""

    def fill(self: int) -> Generator[int, None, str]:
        yield self
        return "full"

    stub = make_stub(1, "fill")
    stub.function = fill
    items = stub.stream(self=1)
    assert next(items) == 1
    with pytest.raises(StopIteration) as ended:
        next(items)
    assert ended.value.value == "full"
