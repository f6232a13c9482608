"""
Payloads of what a worker tells of itself, as values.

Regardless of what was written, reading it takes no more memory than its bytes, calls nothing,
and ends with values of the right types or with an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fal_core_worker.stream.frames import LEVELS, PARTIAL, RECORD, UnreadableFrame
from fal_core_worker.stream.payloads import HELLO, INDEX, LENGTH, LINE

if TYPE_CHECKING:
    from fal_core_worker.stream.payloads import Line

#: What may be added to a level.
_FLAGS = (0, PARTIAL, RECORD)
#: The latest time, in seconds.
_LATEST = 1e11


def unpack_hello(payload: bytes) -> dict[str, Any]:
    """
    Return the description of a worker, by the names of what :func:`pack_hello` takes.

    Raises:
        UnreadableFrame: It is none.
    """
    if len(payload) < HELLO.size:
        raise UnreadableFrame("the description of the worker is cut short")
    pid, *python, at = HELLO.unpack_from(payload)
    if not (pid and 0 <= at <= _LATEST):
        raise UnreadableFrame("the description of the worker has impossible numbers")
    executable = _decode(payload[HELLO.size :])
    return {"pid": pid, "python": tuple(python), "executable": executable, "at": at}


def unpack_texts(payload: bytes) -> dict[str, str]:
    """
    Return a mapping of texts.

    Raises:
        UnreadableFrame: It is none.
    """
    texts = []
    at = 0
    while at < len(payload):
        end = at + LENGTH.size
        length = int.from_bytes(payload[at:end], "little")
        at = end + length
        if at > len(payload):
            raise UnreadableFrame("a text is longer than the frame that carries it")
        texts.append(_decode(payload[end:at]))
    if len(texts) % 2:
        raise UnreadableFrame("a name has no text")
    return dict(zip(texts[::2], texts[1::2], strict=True))


def unpack_lines(payload: Any) -> Iterator[Line]:
    """
    Yield the lines of output of a LOG frame.

    Raises:
        UnreadableFrame: It holds something else.
    """
    at = 0
    while at < len(payload):
        start = at + LINE.size
        if start > len(payload):
            raise UnreadableFrame("a line of output is cut short")
        level, time, channel, index, length, size = LINE.unpack_from(payload, at)
        middle = start if length == INDEX else start + length
        at = middle + size
        if at > len(payload):
            raise UnreadableFrame("a line of output is longer than the frame that carries it")
        known = level % PARTIAL < len(LEVELS) and level - level % PARTIAL in _FLAGS
        if not known or not 0 <= time <= _LATEST:
            raise UnreadableFrame("a line of output has an impossible level or time")
        request = index if length == INDEX else _decode(payload[start:middle])
        yield level, time, channel, request, _decode(payload[middle:at])


def _decode(data: Any) -> str:
    try:
        return str(data, "utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise UnreadableFrame(f"a text is not UTF-8: {error.reason}") from None
