"""
Breaks: why runners have broken off what they were asked.
"""

from __future__ import annotations

import asyncio
import contextlib

from fal_server.fleet.runners import Runner

#: Seconds that the host of a runner may take to tell how that has ended, where its agent
#: is still there.
_LAST_WORDS = 2.0

#: The same where its agent is gone: on a busy machine its host is late, and nobody else
#: tells why.
_LATE_WORDS = 20.0


async def how_it_broke(runner: Runner) -> str:
    """
    Return why *runner* has broken off, once its host has told, or after a moment where its
    agent is still there; empty where it is not known.
    """
    if not await _has_ended(runner, _LAST_WORDS):
        try:
            await runner.agent.ping()
        except asyncio.TimeoutError:
            # It may be there for ever.
            pass
        except OSError:
            await _has_ended(runner, _LATE_WORDS)
    return runner.reason


async def _has_ended(runner: Runner, seconds: float) -> bool:
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(runner.ended.wait(), seconds)
    return runner.ended.is_set()
