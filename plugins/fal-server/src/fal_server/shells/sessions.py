"""
Sessions: one command in a runner, from what it reads to how it ended.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator

import attrs

from fal_server.errors import NotNow, Unavailable
from fal_server.fleet.http_upstreams import BrokenUpstream, Upstream
from fal_server.fleet.runners import Runner
from fal_server_agent import shells

#: The most bytes of what a command reads that are sent to it at once.
_PIECE = 1 << 16


@attrs.frozen
class Message:
    """
    A message of a command: *kind* is one of those of :mod:`fal_server_agent.shells`.
    """

    kind: bytes
    content: bytes

    @property
    def code(self) -> int:
        """
        The exit code in it.
        """
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
    """
    Return the messages with what a command is to read.
    """
    starts = range(0, len(content), _PIECE)
    return [shells.DATA + content[start : start + _PIECE] for start in starts]


def end() -> bytes:
    """
    Return the message that a command has no more to read.
    """
    return shells.END


def resize(lines: int, columns: int) -> bytes:
    """
    Return the message with the size of a terminal.
    """
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
