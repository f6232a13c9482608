"""
The gRPC method that runs commands in runners.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import attrs
from isolate_proto import ShellRunnerOutput

from fal_server.access.callers import Caller
from fal_server.errors import Invalid
from fal_server.fleet.runners import Runner
from fal_server.shells.sessions import ShellSession, end, give, resize
from fal_server_agent import shells

logger = logging.getLogger(__name__)

#: Seconds within which a client says which runner it enters.
_LONGEST_BEGINNING = 60.0

#: The most words of a command, and the most characters of all together.
_MOST_WORDS, _LONGEST_COMMAND = 1000, 100_000

#: The streams of the protocol.
_STREAMS = {shells.OUTPUT: 1, shells.ERRORS: 2}


@attrs.define(eq=False)
class ShellMethods:
    """
    The method for shells.

    Attributes:
        find: Returns a runner of the caller's account by its id.
    """

    find: Callable[[Caller, str], Runner]

    async def ShellRunner(
        self, requests: AsyncIterator[Any], caller: Caller
    ) -> AsyncGenerator[ShellRunnerOutput, None]:
        """
        Run a command in a runner, with a terminal unless the client wants none.
        """
        try:
            first = await asyncio.wait_for(anext(requests), _LONGEST_BEGINNING)
        except (StopAsyncIteration, asyncio.TimeoutError):
            raise Invalid("The first message must name a runner.") from None
        command = tuple(first.command)
        if len(command) > _MOST_WORDS or sum(map(len, command)) > _LONGEST_COMMAND:
            raise Invalid(f"A command has at most {_MOST_WORDS} words.")
        runner = self.find(caller, first.runner_id)
        on_terminal = first.tty if first.HasField("tty") else True
        logger.info("Account %s enters runner %s.", caller.user_id, runner.id)
        session = ShellSession(runner, command, on_terminal)
        async with contextlib.aclosing(session.run(_given(first, requests))) as messages:
            async for message in messages:
                if message.kind == shells.EXIT:
                    yield ShellRunnerOutput(exit_code=message.code)
                    return
                yield ShellRunnerOutput(
                    data=message.content, stream=_STREAMS.get(message.kind, 1)
                )


async def _given(first: Any, requests: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    """
    Yield what a client sends to a command.
    """
    for each in _read(first):
        yield each
    async for request in requests:
        for each in _read(request):
            yield each
    yield end()


def _read(request: Any) -> list[bytes]:
    size = request.tty_size
    found = [resize(size.height, size.width)] if request.HasField("tty_size") else []
    found += give(request.data)
    return [*found, end()] if request.close else found
