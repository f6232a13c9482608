"""Line buffers: lines that wait for a reader, of which the oldest are dropped, and not unsaid."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

import attrs

from fal_server.logs.log_lines import LogLine, size_of

T = TypeVar("T")

#: The most lines that are taken out of a queue at once.
_AT_ONCE = 2000


def write_number(count: int) -> str:
    """Return how many lines *count* are, in words."""
    return "1 line was" if count == 1 else f"{count:,} lines were"


@attrs.define
class _Dropped:
    """How many lines of a runner were dropped, and the last of them."""

    count: int
    last: LogLine


@attrs.define(eq=False)
class LineBuffer:
    """
    Lines that wait, with as many bytes as it may have: the oldest make room.

    Arguments:
        largest: In bytes.

        why: What is said of lines that were dropped, after how many they are.
    """

    largest: int
    why: str
    size: int = attrs.field(default=0, init=False)
    _lines: deque[LogLine] = attrs.field(factory=deque, init=False)
    _dropped: dict[str, _Dropped] = attrs.field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, line: LogLine) -> None:
        """Add a line after all others."""
        self._lines.append(line)
        self.size += size_of(line)
        while self.size > self.largest and len(self._lines) > 1:
            self._drop(self._lines.popleft())

    def add_again(self, lines: Iterable[LogLine]) -> None:
        """Put lines back that were taken last, before all others."""
        for line in reversed(list(lines)):
            self._lines.appendleft(line)
            self.size += size_of(line)

    def take(self, most: int) -> list[LogLine]:
        """
        Take the first lines out, *most* of them, after one for each runner whose lines were
        dropped before these.
        """
        notes = [self._note(each) for each in self._dropped.values()]
        self._dropped.clear()
        taken = [self._lines.popleft() for _ in range(min(most, len(self._lines)))]
        self.size -= sum(map(size_of, taken))
        return notes + taken

    def _drop(self, line: LogLine) -> None:
        self.size -= size_of(line)
        found = self._dropped.setdefault(line.runner_id, _Dropped(0, line))
        found.count += 1
        is_same = found.last.request_id == line.request_id
        found.last = line if is_same else attrs.evolve(line, request_id=None)

    def _note(self, dropped: _Dropped) -> LogLine:
        sentence = f"{write_number(dropped.count)} dropped: {self.why}"
        return attrs.evolve(dropped.last, message=sentence, level="WARNING", source="BRIDGE")


@attrs.define(eq=False)
class LineQueue(Generic[T]):
    """
    Lines and other messages that wait for one reader, in the order in which they came.

    The messages between lines are never dropped.

    Arguments:
        largest: The bytes of the lines, as those of a :class:`LineBuffer`.

        why: The same as there.
    """

    largest: int
    why: str
    _blocks: deque[LineBuffer | T] = attrs.field(factory=deque, init=False)
    _woken: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)

    def put_nowait(self, item: LogLine | T) -> None:
        """Add a line or a message."""
        if isinstance(item, LogLine):
            last = self._blocks[-1] if self._blocks else None
            if not isinstance(last, LineBuffer):
                last = LineBuffer(self.largest, self.why)
                self._blocks.append(last)
            last.add(item)
        else:
            self._blocks.append(item)
        self._woken.set()

    async def take(self) -> list[LogLine | T]:
        """Wait until there is something, and take some of it."""
        while not self._blocks:
            self._woken.clear()
            await self._woken.wait()
        taken: list[LogLine | T] = []
        while self._blocks:
            block = self._blocks.popleft()
            if not isinstance(block, LineBuffer):
                taken.append(block)
                continue
            taken += block.take(_AT_ONCE)
            if block:
                self._blocks.appendleft(block)
                break
        return taken
