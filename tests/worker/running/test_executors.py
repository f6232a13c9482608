"""Executors: what calls can do is the same one at a time and several at once."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from pipe_hosts import PATIENCE, PipeHost

from fal_core import function
from fal_testing import InProcessHost


@pytest.fixture(params=[1, 4], ids=["one at a time", "several at once"])
def host(request: pytest.FixtureRequest, pipe_host: PipeHost) -> PipeHost:
    pipe_host.callbacks["settings"] = {"multiplex": request.param}
    return pipe_host


def test_variables_are_set_before_a_function_is_opened(host: PipeHost) -> None:
    """Secrets that were sent are variables of the worker for the calls that follow."""
    host.start().send_secrets({"FAL_CORE_TEST_TOKEN": "abc"})
    assert function("current", host=host)(os.getenv)("FAL_CORE_TEST_TOKEN") == "abc"


def test_a_function_calls_home_and_gets_what_is_raised_there(host: PipeHost) -> None:
    """A call of another isolated function is made by the process that launched this one."""
    home = InProcessHost()

    @function("current", host=home)
    def invert(number: int) -> tuple[float, int]:
        return 1 / number, os.getpid()

    @function("current", host=host)
    def ask(numbers: list[int]) -> Any:
        results = [invert(number) for number in numbers]
        try:
            invert(0)
        except ZeroDivisionError as error:
            return results, str(error), os.getpid()

    results, error, pid = ask([1, 2])
    assert results == [(1.0, os.getpid()), (0.5, os.getpid())]
    assert error == "division by zero"
    assert pid != os.getpid()


def test_a_generator_that_is_returned_is_refused(host: PipeHost) -> None:
    """A generator cannot travel: the error says what to do instead."""

    @function("current", host=host)
    def make() -> Any:
        return (number for number in range(3))

    with pytest.raises(TypeError, match="Make the isolated function itself a generator"):
        make()


@pytest.mark.parametrize("way", ["plain", "async"])
def test_a_stream_ends_with_what_its_generator_raises(
    host: PipeHost, tmp_path: Path, way: str
) -> None:
    """Items before an exception arrive, and the generator has been closed."""
    closed = tmp_path / "closed"

    @function("current", host=host)
    def count(closed: Path) -> Iterator[int]:
        try:
            yield 1
            yield 2
            raise LookupError("no more")
        finally:
            closed.touch()

    @function("current", host=host)
    async def count_async(closed: Path) -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
            raise LookupError("no more")
        finally:
            closed.touch()

    items: Any = (count if way == "plain" else count_async).stream(closed)
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(LookupError, match="no more"):
        next(items)
    assert closed.exists()


@pytest.mark.parametrize("way", ["plain", "async"])
def test_an_item_that_cannot_travel_ends_its_stream(host: PipeHost, way: str) -> None:
    """The caller gets the error in the place of the item, and the worker goes on."""

    @function("current", host=host)
    def give() -> Iterator[Any]:
        import threading

        yield 1
        yield threading.current_thread()

    @function("current", host=host)
    async def give_async() -> AsyncIterator[Any]:
        import threading

        yield 1
        yield threading.current_thread()

    items: Any = (give if way == "plain" else give_async).stream()
    assert next(items) == 1
    with pytest.raises(Exception, match="The result of 'test_an_item"):
        next(items)
    assert function("current", host=host)(os.getpid)()


def test_a_service_needs_a_worker_of_its_own(pipe_host: PipeHost) -> None:
    """A worker that several calls share refuses to run a service."""
    pipe_host.callbacks["settings"] = {"multiplex": 4}

    @function("current", host=pipe_host)
    def serve() -> None:
        import asyncio

        from fal_core_worker.serving import services

        service = asyncio.sleep(0)
        try:
            services.run(service, asyncio.new_event_loop(), lambda: None)
        finally:
            service.close()

    with pytest.raises(RuntimeError, match="needs a worker of its own"):
        serve.submit().result(PATIENCE)
