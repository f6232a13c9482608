"""The gRPC method that runs commands in runners."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import attrs
from isolate_proto import ShellRunnerOutput

from fal_server.access.callers import Caller
from fal_server.errors import Invalid, NotNow, Unavailable
from fal_server.fleet.http_upstreams import BrokenUpstream, Upstream
from fal_server.fleet.runners import Runner
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
        """Run a command in a runner, with a terminal unless the client wants none."""
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
    """Yield what a client sends to a command."""
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


#: The most bytes of what a command reads that are sent to it at once.
_PIECE = 1 << 16


@attrs.frozen
class Message:
    """A message of a command: *kind* is one of those of :mod:`fal_server_agent.shells`."""

    kind: bytes
    content: bytes

    @property
    def code(self) -> int:
        """The exit code in it."""
        return int(shells.CODE.unpack(self.content)[0])


@attrs.frozen
class ShellSession:
    """
    A command to run in a runner.

    Attributes:
        command: Its words. Empty for a shell.

        tty: Whether it has a terminal.
    """

    runner: Runner
    command: tuple[str, ...]
    tty: bool

    async def run(self, given: AsyncIterator[bytes]) -> AsyncGenerator[Message, None]:
        """
        Run the command, and yield its messages, of which the last has its exit code.

        Arguments:
            given: What is sent to it, as :func:`give`, :func:`end` and :func:`resize` make it.

        Raises:
            NotNow: The runner is not up.

            Unavailable: The connection with the runner broke.
        """
        runner = self.runner
        if runner.agent.url is None or not runner.is_alive:
            raise NotNow(
                f"Runner {runner.id} is {runner.label}. Only those that are up can be entered."
            )
        try:
            async with runner.agent.ask("/shell", self._body(given)) as upstream:
                async for message in _messages(upstream):
                    if message.content:
                        yield message
                    if message.kind == shells.EXIT:
                        return
        except OSError as error:
            raise Unavailable(f"The connection with runner {runner.id} broke.") from error
        raise Unavailable(
            f"Runner {runner.id} has ended, or was started by a server that had no shells."
        )

    async def _body(self, given: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        yield json.dumps({"command": self.command, "tty": self.tty}).encode()
        async for message in given:
            yield message


def give(content: bytes) -> list[bytes]:
    """Return the messages with what a command is to read."""
    starts = range(0, len(content), _PIECE)
    return [shells.DATA + content[start : start + _PIECE] for start in starts]


def end() -> bytes:
    """Return the message that a command has no more to read."""
    return shells.END


def resize(lines: int, columns: int) -> bytes:
    """Return the message with the size of a terminal."""
    sizes = [min(max(each, 1), 0xFFFF) for each in (lines, columns)]
    return shells.SIZE + shells.TERMINAL.pack(*sizes)


async def _messages(upstream: Upstream) -> AsyncGenerator[Message, None]:
    if upstream.status != 200:
        raise BrokenUpstream(f"It responded with {upstream.status}.")
    kept = bytearray()
    while part := await upstream.read_part():
        kept += part
        while len(kept) >= shells.HEAD.size:
            kind, length = shells.HEAD.unpack_from(kept)
            if length > shells.LARGEST:
                raise BrokenUpstream("It sends what is too large.")
            if len(kept) < shells.HEAD.size + length:
                break
            content = bytes(kept[shells.HEAD.size : shells.HEAD.size + length])
            del kept[: shells.HEAD.size + length]
            yield Message(kind, content)
