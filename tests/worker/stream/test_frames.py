"""Frames: messages as bytes, and the buffers that payloads carry."""

from __future__ import annotations

import array

from hypothesis import given
from hypothesis import strategies as st

from fal_core_worker.stream import frames
from fal_core_worker.stream.frames import (
    HEADER,
    HEADER_SIZE,
    INLINE,
    MAGIC,
    VERSION,
    pack_buffers,
    pack_frame,
    unpack_buffers,
)


class Shelf:
    """A place for buffers of an even number of bytes, as an arena is one for large ones."""

    def __init__(self) -> None:
        self.kept: dict[int, bytes] = {}

    def store(self, view: memoryview) -> int | None:
        if len(view) % 2:
            return None
        self.kept[len(self.kept)] = bytes(view)
        return len(self.kept) - 1

    def view(self, offset: int, length: int) -> memoryview:
        assert len(self.kept[offset]) == length
        return memoryview(self.kept[offset])


def test_a_header_is_as_it_was() -> None:
    """The header is frozen: 24 bytes, whose fields an older other end finds in their places."""
    frame = pack_frame(frames.OUTCOME, 3, frames.ENDED_RAISED, frames.REPLACE, b"data")
    assert frame == (
        b"\x26\x01\x00\x00"  # the kind, the version, no buffers
        b"\x03\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00"
        b"\x04\x00\x00\x00\x00\x00\x00\x00data"
    )
    assert HEADER_SIZE == HEADER.size == 24
    assert VERSION == 1
    assert MAGIC == b"\x00fal-core-worker\x01\n"


@given(st.binary(), st.lists(st.binary()), st.booleans())
def test_buffers_come_back_in_their_order(
    data: bytes, buffers: list[bytes], in_arena: bool
) -> None:
    """What is packed with a payload is unpacked from it, whether or not an arena takes it."""
    shelf = Shelf() if in_arena else None
    payload = b"".join(pack_buffers(data, buffers, shelf))
    again, views = unpack_buffers(payload, len(buffers), shelf)
    assert again == data
    assert [bytes(view) for view in views] == buffers
    if shelf is not None:
        assert [*shelf.kept.values()] == [each for each in buffers if not len(each) % 2]


def test_inline_buffers_are_views_of_the_payload() -> None:
    """Buffers are not copied on their way out of a payload, nor in if they are inline."""
    numbers = array.array("d", [1.0, 2.0])
    table, data, inline = pack_buffers(b"", [numbers], None)
    assert inline.obj is numbers
    assert int.from_bytes(table[8:16], "little") == INLINE
    payload = bytearray(b"".join((table, data, inline)))
    _, (view,) = unpack_buffers(payload, 1, None)
    payload[-8:] = bytes(8)
    assert array.array("d", view.tobytes()) == array.array("d", [1.0, 0.0])
