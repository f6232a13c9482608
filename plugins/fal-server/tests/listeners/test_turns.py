"""Turns: in which order connections are read, and how much of each."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fal_server.limits import Limits
from fal_server.listeners.open_connections import OpenConnection, OpenConnections
from fal_server.listeners.turns import Line, Reading


class Transport(asyncio.Transport):
    """A transport that notes whether it receives."""

    receives = True

    def pause_reading(self) -> None:
        self.receives = False

    def resume_reading(self) -> None:
        self.receives = True


class Made:
    """A connection whose parts are kept, with its name, among those of all."""

    def __init__(self, line: Line, name: str, parts: list[tuple[str, bytes]]) -> None:
        visit = OpenConnections(Limits()).add("127.0.0.1")
        assert visit is not None
        self.visit: OpenConnection = visit
        self.reading = Reading(line, visit, lambda data: parts.append((name, data)))
        self.transport = self.reading.transport = Transport()


async def until_read(*made: Made) -> None:
    while any(each.reading.waits for each in made):
        await asyncio.sleep(0)


def test_strangers_are_read_in_turns():
    """
    Whoever sends little is read after one part of each who sends much. A client that has shown
    a key waits for nobody.
    """

    async def main() -> None:
        parts: list[tuple[str, bytes]] = []
        line = Line(lambda: True)
        first, second, third = (Made(line, name, parts) for name in ("a", "b", "c"))
        known = Made(line, "known", parts)
        known.visit.recognise()
        first.reading.take(b"x" * 600)
        second.reading.take(b"y" * 600)
        third.reading.take(b"z")
        known.reading.take(b"k" * 1000)
        assert parts == [("known", b"k" * 1000)]
        assert not first.transport.receives
        await until_read(first, second, third)
        assert [name for name, _ in parts[1:]] == ["a", "b", "c", "a", "b", "a", "b"]
        assert b"".join(data for name, data in parts if name == "a") == b"x" * 600
        assert first.transport.receives

    asyncio.run(main())


def test_what_waits_is_read_at_once_when_a_key_was_shown():
    """What a client has sent behind the call that shows its key is one part, and in order."""

    async def main() -> None:
        parts: list[tuple[str, bytes]] = []
        made = Made(Line(lambda: True), "a", parts)
        made.reading.take(b"x" * 1000)
        made.visit.recognise()
        made.reading.take(b"y" * 1000)
        await until_read(made)
        assert parts == [("a", b"x" * 1000 + b"y" * 1000)]

    asyncio.run(main())


def test_nobody_has_a_turn_without_room():
    """Turns go on when there is room again."""

    async def main() -> None:
        room = [False]
        parts: list[tuple[str, bytes]] = []
        line = Line(lambda: room[0])
        made = Made(line, "a", parts)
        made.reading.take(b"x")
        for _ in range(3):
            await asyncio.sleep(0)
        assert not parts
        room[0] = True
        line.go_on()
        await until_read(made)
        assert parts == [("a", b"x")]

    asyncio.run(main())


def test_connection_that_is_full_or_has_ended_receives_nothing():
    """What has ended is not read, and a client that reads nothing is not heard, whatever waits."""

    async def main() -> None:
        parts: list[tuple[str, bytes]] = []
        line = Line(lambda: True)
        full, ended = Made(line, "full", parts), Made(line, "ended", parts)
        full.reading.take(b"x")
        full.reading.hold(is_held=True)
        ended.reading.take(b"y")
        ended.reading.end()
        await until_read(full)
        assert parts[0] == ("full", b"x")
        assert not full.transport.receives
        full.reading.hold(is_held=False)
        assert full.transport.receives
        await asyncio.sleep(0)
        assert ("ended", b"y") not in parts

    asyncio.run(main())


def test_error_ends_its_connection_alone():
    """What cannot be read ends its connection, and the next ones have their turns."""

    def fail(data: bytes) -> Any:
        raise LookupError(data)

    async def main() -> None:
        told: list[Any] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.append(context))
        parts: list[tuple[str, bytes]] = []
        line = Line(lambda: True)
        broken, other = Made(line, "broken", parts), Made(line, "other", parts)
        aborted: list[bool] = []
        broken.visit.abort = lambda: aborted.append(True)
        broken.reading = Reading(line, broken.visit, fail)
        broken.reading.take(b"x" * 600)
        other.reading.take(b"y")
        await until_read(broken, other)
        assert parts == [("other", b"y")]
        assert aborted == [True]
        with pytest.raises(LookupError):
            raise told[0]["exception"]

    asyncio.run(main())
