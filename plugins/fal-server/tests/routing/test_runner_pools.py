"""Runner pools: the requests that wait for a runner."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from bare_runners import make_runner

from fal_server.fleet.http_client import HttpClient
from fal_server.fleet.runners import Runner
from fal_server.routing.refusals import StartTimeout
from fal_server.routing.runner_pools import RunnerPool
from fal_server.specs.scaling import Scaling


async def make_busy(plane: Any, exchanges: HttpClient) -> tuple[RunnerPool, Runner]:
    """Return a pool with one runner, which has a request."""

    def launch(_: Any) -> Runner:
        raise AssertionError("The pool must not start another runner.")

    pool = RunnerPool(Scaling(max_concurrency=1), launch)
    runner = make_runner(plane, exchanges, changed=pool.changed)
    pool.adopt(runner)
    runner.become_ready()
    assert await pool.acquire() is runner
    return pool, runner


@pytest.mark.parametrize("timeout", [None, 30.0])
def test_cancelled_request_gives_its_slot_back(plane, timeout):
    """A slot that is assigned to a request at the moment it is cancelled is free again."""

    async def main() -> None:
        async with aclosing(HttpClient()) as exchanges:
            pool, runner = await make_busy(plane, exchanges)
            waiting = asyncio.create_task(pool.acquire(timeout=timeout))
            # Let the task wait for a slot.
            while not pool.waiting:
                await asyncio.sleep(0)
            runner.release()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert (runner.in_flight, pool.waiting) == (0, 0)
            pool.detach()

    plane.run(main())


def test_request_that_has_timed_out_takes_no_slot(plane):
    """A request that has timed out takes no slot, not even in a pool that it was moved to."""

    async def main() -> None:
        async with aclosing(HttpClient()) as exchanges:
            pool, _ = await make_busy(plane, exchanges)
            other, runner = await make_busy(plane, exchanges)
            waiting = asyncio.create_task(pool.acquire(timeout=0.1))
            # Let the task wait for a slot.
            while not pool.waiting:
                await asyncio.sleep(0)
            pool.move_waiting(other)
            with pytest.raises(StartTimeout):
                await waiting
            runner.release()
            assert (runner.in_flight, other.waiting) == (0, 0)
            pool.detach()
            other.detach()

    plane.run(main())
