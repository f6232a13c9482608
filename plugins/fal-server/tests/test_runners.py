"""
Runners: agents that were launched on a host.
"""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from fal_core.environments import CurrentEnvironment
from fal_core.events import Ready
from fal_server.errors import NotFound
from fal_server.runners import Runner
from fal_server.specs import Message, RunnerSpec


@pytest.mark.parametrize("error", [NotFound("It is gone."), OSError("No room.")])
def test_runner_that_cannot_be_told_what_to_serve_is_ended(plane, error):
    """
    Whatever goes wrong before a runner is told what to serve ends it; nobody waits on.
    """

    async def load() -> Message:
        raise error

    async def main() -> None:
        async with aiohttp.ClientSession() as session:
            runner = Runner(
                id="one",
                spec=RunnerSpec(name="one", owner="", environment=CurrentEnvironment()),
                token="",
                logs=plane.plane.logs,
                loop=asyncio.get_running_loop(),
                session=session,
                changed=lambda _: None,
                echoes={},
            )
            runner.serve(load)
            runner.take(Ready({"control": "http://127.0.0.1:1"}))
            for _ in range(1000):
                if runner.gave_up:
                    break
                await asyncio.sleep(0.01)
            assert (runner.gave_up, bool(runner.reason)) == (True, True)

    plane.run(main())
