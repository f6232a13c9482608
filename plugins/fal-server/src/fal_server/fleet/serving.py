"""
Serving: how a runner is told what to serve, and tells where it does and how it ended.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable

from fal_core.errors import StartupTimeout
from fal_server.errors import STATE_TROUBLE, Refusal
from fal_server.fleet.call_outcomes import CallOutcome
from fal_server.fleet.endings import RunnerLost
from fal_server.fleet.http_upstreams import BrokenUpstream, UnreachedUpstream
from fal_server.fleet.runners import Runner
from fal_server.specs.runner_specs import Message
from fal_server_agent.messages import pack, unpack

logger = logging.getLogger(__name__)

#: Seconds that an agent of an earlier version may take to tell its host where it serves.
_LONGEST_START = 600.0


def serve(runner: Runner, load: Callable[[], Awaitable[Message]]) -> None:
    """
    Have *runner* serve what *load* returns; its ``ready`` is set once it does, and its
    ``outcome`` has how it ended.

    One that serves already, as an earlier server has told it, tells the same.
    """
    runner.serving = runner.loop.create_task(_serve(runner, load))


async def _serve(runner: Runner, load: Callable[[], Awaitable[Message]]) -> None:
    try:
        await runner.wait_for_control()
        header, parts = await load()
        if runner.spec.startup_timeout is not None:
            # The host's own limit ends where the agent listens, which serves nothing yet.
            _limit_start(runner, runner.spec.startup_timeout)
        body = pack({**header, "call": runner.id}, *parts)
        async with contextlib.aclosing(_tell(runner, body)) as messages:
            async for message in messages:
                header, _ = unpack(message)
                if "serving" in header:
                    # An agent of an earlier version, which has told its host alone.
                    _limit_start(runner, runner.spec.startup_timeout or _LONGEST_START)
                    return
                if "urls" not in header:
                    if not runner.outcome.done():
                        runner.outcome.set_result(CallOutcome.read(message))
                    return
                runner.take_urls(header["urls"])
    except UnreachedUpstream:
        runner.give_up("It no longer answered.")
    except (RunnerLost, BrokenUpstream):
        # Its end is told by its host.
        return
    except Refusal as refusal:
        runner.give_up(str(refusal), is_blocked=isinstance(refusal, STATE_TROUBLE))
    except Exception:
        logger.exception("Runner %s could not be told what to serve", runner.id)
        runner.give_up("An internal error occurred.")


async def _tell(runner: Runner, body: bytes) -> AsyncGenerator[bytes, None]:
    """
    Tell an agent what to serve, and iterate over what it tells.
    """
    told = bytearray()
    async with runner.agent.ask("/serve", body) as upstream:
        while part := await upstream.read_part():
            told += part
            while len(told) >= (end := 8 + int.from_bytes(told[:8], "little")):
                yield bytes(told[8:end])
                del told[:end]


def _limit_start(runner: Runner, seconds: float) -> None:
    def see_that_it_is_up() -> None:
        if runner.is_alive and not runner.ready.is_set():
            runner.cause = StartupTimeout(seconds)
            runner.give_up(str(runner.cause))

    runner.loop.call_later(seconds, see_that_it_is_up)
