"""Serving: have a runner serve an application."""

from __future__ import annotations

import asyncio
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
from fal_server_agent.messages import UnreadableMessage, pack, unpack

logger = logging.getLogger(__name__)

#: Seconds that an agent of an earlier version may take to report its URL to its host.
_LONGEST_START = 600.0

#: Seconds beyond the timeout of a start that a host has to report what became of it: it has
#: ten to let a runner say where it hangs, and is late on a busy machine.
_MOMENT = 30.0


def serve(runner: Runner, load: Callable[[], Awaitable[Message]]) -> None:
    """
    Have *runner* serve the function that *load* returns.

    Its ``ready`` is set once it serves, and its ``outcome`` once the function has ended. A
    runner that serves already, because an earlier server has asked it to, goes on.
    """
    runner.serving = runner.tasks.spawn(_serve(runner, load))


async def _serve(runner: Runner, load: Callable[[], Awaitable[Message]]) -> None:
    try:
        await _wait_for_agent(runner)
        header, parts = await load()
        if runner.spec.startup_timeout is not None:
            # The limit of the host holds until the agent listens, when nothing is served yet.
            _limit_start(runner, runner.spec.startup_timeout)
        body = pack({**header, "call": runner.id}, *parts)
        async with contextlib.aclosing(_ask_to_serve(runner, body)) as messages:
            async for message in messages:
                header, _ = unpack(message)
                if "serving" in header:
                    # An agent of an earlier version has reported its URL to its host alone.
                    _limit_start(runner, runner.spec.startup_timeout or _LONGEST_START)
                    return
                if "urls" not in header:
                    if not runner.outcome.done():
                        runner.outcome.set_result(CallOutcome.read(message))
                    return
                if not isinstance(header["urls"], dict):
                    raise UnreadableMessage("its URLs have no names")
                if not runner.way.is_elsewhere:
                    # From another machine, its host reports how it is reached.
                    runner.take_urls(header["urls"])
    except UnreadableMessage as error:
        runner.break_off(f"It was ended because its agent cannot be read: {error}.")
    except UnreachedUpstream:
        runner.give_up("It no longer answered.")
    except (RunnerLost, BrokenUpstream):
        # The host reports how it ended.
        return
    except Refusal as refusal:
        runner.give_up(str(refusal), is_blocked=isinstance(refusal, STATE_TROUBLE))
    except Exception:
        logger.exception("Runner %s could not be asked to serve", runner.id)
        runner.give_up("An internal error occurred.")


async def _wait_for_agent(runner: Runner) -> None:
    """
    Wait until the agent of *runner* listens, and give the runner up if its host has launched
    it and says neither that it does nor why not, as where its supervisor has stopped.

    Raises:
        RunnerLost: It has ended before.
    """
    seconds, has_begun = runner.spec.startup_timeout, runner.execution is not None
    while seconds is not None:
        # What the host itself limits is reported by it, a moment later.
        with contextlib.suppress(asyncio.TimeoutError):
            return await asyncio.wait_for(runner.wait_for_control(), seconds + _MOMENT)
        if has_begun:
            _give_up(runner, seconds)
            break
        has_begun = runner.execution is not None
    await runner.wait_for_control()


async def _ask_to_serve(runner: Runner, body: bytes) -> AsyncGenerator[bytes, None]:
    """
    Ask an agent to serve, and yield its messages.

    Raises:
        UnreadableMessage: It announces a message that is too large.
    """
    received = bytearray()
    async with runner.agent.ask("/serve", body) as upstream:
        while part := await upstream.read_part():
            received += part
            while len(received) >= 8:
                size = int.from_bytes(received[:8], "little")
                if size > runner.largest_result:
                    most = runner.largest_result
                    raise UnreadableMessage(f"it announces {size} bytes, of at most {most}")
                if len(received) < 8 + size:
                    break
                yield bytes(received[8 : 8 + size])
                del received[: 8 + size]


def _limit_start(runner: Runner, seconds: float) -> None:
    def check_that_it_is_up() -> None:
        if runner.is_alive and not runner.ready.is_set():
            _give_up(runner, seconds)

    runner.loop.call_later(seconds, check_that_it_is_up)


def _give_up(runner: Runner, seconds: float) -> None:
    runner.cause = StartupTimeout(seconds)
    runner.give_up(str(runner.cause))
