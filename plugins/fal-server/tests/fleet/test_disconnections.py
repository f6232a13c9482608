"""Disconnections: why a runner broke off a request."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from bare_runners import make_runner

from fal_core.events import Exited
from fal_server.fleet import disconnections
from fal_server.fleet.http_client import HttpClient


def test_reason_of_a_lost_runner_is_waited_for(plane, monkeypatch):
    """A client without an answer gets how the runner ended, even if that is known only later."""
    monkeypatch.setattr(disconnections, "_LAST_WORDS", 0.01)

    async def main() -> None:
        async with aclosing(HttpClient()) as exchanges:
            runner = make_runner(plane, exchanges)
            runner.take_urls({"control": "http://127.0.0.1:1"})
            told = asyncio.create_task(disconnections.how_it_broke(runner))
            # Nothing must be told meanwhile.
            await asyncio.sleep(0.2)
            assert not told.done()
            runner.take(Exited(code=3))
            assert "exited with code 3" in await told

    plane.run(main())
