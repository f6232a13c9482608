"""Disconnections: why a runner broke off a request."""

from __future__ import annotations

import asyncio
import contextlib

from fal_server.fleet.runners import Runner

#: Seconds that the host may take to report the end of a runner whose agent still answers.
_LAST_WORDS = 2.0

#: The same for a runner whose agent is gone: on a busy machine the host reports late, and
#: nobody else knows why.
_LATE_WORDS = 20.0


async def how_it_broke(runner: Runner) -> str:
    """
    Return why *runner* broke off a request, as soon as its host has reported that, or after
    a moment if the agent still answers. Empty where the reason is not known.
    """
    if not await _has_ended(runner, _LAST_WORDS):
        try:
            await runner.agent.ping()
        except asyncio.TimeoutError:
            # The agent hangs, and its host may never report an end.
            pass
        except OSError:
            await _has_ended(runner, _LATE_WORDS)
    return runner.reason


async def _has_ended(runner: Runner, seconds: float) -> bool:
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(runner.ended.wait(), seconds)
    return runner.ended.is_set()
