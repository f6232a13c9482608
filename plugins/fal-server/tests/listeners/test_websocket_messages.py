"""Messages of websockets that arrive, and the memory that they take."""

from __future__ import annotations

import struct

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fal_server.errors import TooMany
from fal_server.listeners.websocket_messages import IncomingMessages

CONTINUATION, TEXT, PING = 0, 1, 9


@attrs.define
class Memory:
    """Memory of a number of bytes."""

    most: int = 1 << 30
    size: int = 0

    def grow(self, size: int) -> None:
        if self.size + size > self.most:
            raise TooMany("There is no room.")
        self.size += size

    def shrink(self, size: int) -> None:
        self.size -= size


def write_frame(code: int, content: bytes, *, is_last: bool = True, mask: bool = True) -> bytes:
    """Return a frame as a client sends it."""
    first, flag = code | (0x80 if is_last else 0), 0x80 if mask else 0
    if len(content) < 126:
        head = struct.pack("!BB", first, flag | len(content))
    elif len(content) < 1 << 16:
        head = struct.pack("!BBH", first, flag | 126, len(content))
    else:
        head = struct.pack("!BBQ", first, flag | 127, len(content))
    return head + (bytes(4) if mask else b"") + content


PARTS = st.lists(
    st.sampled_from([b"", b"x", b"x" * 125, b"x" * 126, b"x" * 70_000]), min_size=1
)


@given(
    st.lists(PARTS, max_size=4),
    st.lists(st.integers(1, 80_000), min_size=1),
    st.booleans(),
    st.booleans(),
)
def test_messages_are_counted_however_they_come(messages, steps, has_pings, is_masked):
    """
    Whatever the frames are, and in whatever pieces they come, each message takes memory from
    its first byte until it is dealt with, and nothing is left in the end.
    """
    wire, bounds = b"", {0}
    for parts in messages:
        for number, part in enumerate(parts):
            is_last = number == len(parts) - 1
            code = CONTINUATION if number else TEXT
            wire += write_frame(code, part, is_last=is_last, mask=is_masked)
            if is_last:
                bounds.add(len(wire))
            if has_pings:
                wire += write_frame(PING, b"ping", mask=is_masked)
                if is_last:
                    bounds.add(len(wire))
    memory, begun, ended = Memory(), [], []
    incoming = IncomingMessages(
        lambda *told: ended.append(told), lambda: begun.append(1), memory
    )
    at = 0
    while at < len(wire):
        step = steps[at % len(steps)]
        assert incoming.feed(wire[at : at + step])
        at = min(at + step, len(wire))
        assert incoming.total_bytes == at
        assert incoming.is_eof() == (at in bounds)
        assert begun or incoming.is_eof()
    assert memory.size == sum(128 + sum(map(len, parts)) for parts in messages)
    for parts in messages:
        incoming.has_dealt(b"".join(parts).decode() if has_pings else b"".join(parts))
    assert (memory.size, ended) == (0, [])


def test_messages_without_content_take_memory():
    """However small messages are, there is an end to how many wait."""
    ended = []
    incoming = IncomingMessages(lambda *told: ended.append(told), pytest.fail, Memory(1000))
    frames = 0
    while incoming.feed(write_frame(TEXT, b"")):
        frames += 1
    assert (frames, ended) == (7, [(1013, "There is no room.")])
