"""
Payloads of what a worker tells of itself: texts and numbers, one after the other.

They are read by :mod:`fal_core.workers.payloads_in`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping

from fal_core_worker.stream.frames import LARGEST_LOG, RECORD

TYPE_CHECKING = False
if TYPE_CHECKING:
    #: Level, time, channel, index of the item or id of the request, and lines.
    Line = tuple[int, float, int, int | str, str]

LENGTH = struct.Struct("<I")
#: The process ID, the version of Python and the time of the start; a path follows.
HELLO = struct.Struct("<IBBBd")
#: Level, time, channel, index, and the lengths of the request and of the lines.
LINE = struct.Struct("<BdIIII")
#: In place of the length of a request: there is an index.
INDEX = 0xFFFFFFFF
#: Characters of a line that one record holds; a longer one is cut.
_LONGEST = LARGEST_LOG // 8
#: Bytes after which lines begin another payload.
_ENOUGH = LARGEST_LOG // 4


def pack_hello(pid: int, python: tuple[int, int, int], executable: str, at: float) -> bytes:
    """Return the description of a worker that started *at* a time of the machine's clock."""
    return HELLO.pack(pid, *python, at) + _encode(executable)


def pack_texts(texts: Mapping[str, str]) -> bytes:
    """Return a mapping of texts."""
    parts = [_encode(text) for pair in texts.items() for text in pair]
    return b"".join(LENGTH.pack(len(part)) + part for part in parts)


def pack_lines(block: Iterable[Line]) -> Iterator[bytes]:
    """Yield lines of output as payloads of LOG frames."""
    payload = bytearray()
    for level, time, channel, index, lines in block:
        request = _encode(index) if isinstance(index, str) else b""
        number, length = (0, len(request)) if isinstance(index, str) else (index, INDEX)
        logger = ""
        if level & RECORD:
            logger, end, lines = lines.partition("\n")
            logger += end
        for start in range(0, len(lines) or 1, _LONGEST):
            text = _encode(logger + lines[start : start + _LONGEST])
            payload += LINE.pack(level, time, channel, number, length, len(text))
            payload += request + text
            if len(payload) > _ENOUGH:
                yield bytes(payload)
                payload.clear()
    if payload:
        yield bytes(payload)


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
