"""Calling: have a runner call a function."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from fal_server.fleet.call_outcomes import CallOutcome
from fal_server.fleet.disconnections import how_it_broke
from fal_server.fleet.endings import RunnerLost
from fal_server.fleet.http_upstreams import TooLarge
from fal_server.fleet.runners import Runner
from fal_server_agent.messages import UnreadableMessage, pack

logger = logging.getLogger(__name__)

#: Seconds that lines printed by a call may take to arrive after its result.
_LAST_LINES = 5.0


async def call(
    runner: Runner, id: str, header: Mapping[str, Any], parts: list[bytes]
) -> CallOutcome:
    """
    Have *runner* call a function, and return the outcome once all its lines have arrived.

    Arguments:
        id: The id of the call.

        header, parts: The message for the agent.

    Raises:
        RunnerLost: The runner ended before there was an outcome.
    """
    await runner.wait_for_control()
    with runner.lines.all_of(id) as done:
        message = await _post(runner, "/call", pack({**header, "call": id}, *parts))
        try:
            await asyncio.wait_for(done.wait(), _LAST_LINES)
        except asyncio.TimeoutError:
            logger.warning("The last log lines of %s did not arrive.", id)
        try:
            return CallOutcome.read(message)
        except UnreadableMessage as error:
            raise _broken(runner, error) from error


async def _post(runner: Runner, path: str, body: bytes) -> bytes:
    request = asyncio.ensure_future(_exchange(runner, path, body))
    ended = asyncio.ensure_future(runner.ended.wait())
    try:
        await asyncio.wait({request, ended}, return_when=asyncio.FIRST_COMPLETED)
        if request.done():
            return request.result()
        raise RunnerLost(runner.reason or "The runner was ended.")
    except TooLarge as error:
        raise _broken(runner, error) from error
    except OSError as error:
        reason = await how_it_broke(runner)
        raise RunnerLost(reason or "The runner broke off.") from error
    finally:
        request.cancel()
        ended.cancel()


async def _exchange(runner: Runner, path: str, body: bytes) -> bytes:
    async with runner.agent.ask(path, body) as upstream:
        return await upstream.read(runner.largest_result)


def _broken(runner: Runner, error: Exception) -> RunnerLost:
    """End a runner that has sent no outcome, and return the error for who waits for it."""
    runner.break_off(f"It was ended because its result cannot be read: {error}.")
    return RunnerLost(runner.reason)
