"""
Shared memory between the ends of a stream.
"""

from __future__ import annotations

import gc
import os
import pickle
import sys
from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs memfd_create")

MIB = 1 << 20


class Ends:
    """
    Both ends of one arena.
    """

    def __init__(self, capacity: int = 512 * MIB) -> None:
        from fal_core_worker.stream.arenas import InboundArena, OutboundArena

        self.descriptor = os.memfd_create("arena", os.MFD_CLOEXEC)
        self.writer = OutboundArena(self.descriptor, capacity)
        self.reader = InboundArena(self.descriptor)

    def put(self, data: bytes) -> int:
        """
        Store *data*, and send the size of the arena to the other end.
        """
        offset = self.writer.store(memoryview(data))
        assert offset is not None
        if self.writer.resized:
            self.reader.resize(self.writer.take_resized())
        return offset

    def release(self) -> None:
        """
        Tell the writing end which blocks are free.
        """
        self.writer.release(self.reader.take_freed())

    @property
    def size(self) -> int:
        """
        The memory of the arena in bytes.
        """
        return os.fstat(self.descriptor).st_blocks * 512


@pytest.fixture
def ends() -> Iterator[Ends]:
    ends = Ends()
    yield ends
    os.close(ends.descriptor)


def test_stored_blocks_are_read(ends: Ends):
    """
    Blocks of any size arrive whole, however often the arena has grown between.
    """
    sent = [os.urandom(size) for size in (1, 4096, 5000, 40 * MIB, 3, 33 * MIB)]
    offsets = [ends.put(data) for data in sent]
    for offset, data in zip(offsets, sent, strict=True):
        assert ends.reader.view(offset, len(data)) == data


def test_block_is_free_when_its_last_view_dies(ends: Ends):
    """
    A view of a view keeps the block; once it is gone the next one takes its place.
    """
    offset = ends.put(b"x" * 8192)
    part = ends.reader.view(offset, 8192)[10:20]
    ends.release()
    assert ends.put(b"y" * 8192) != offset
    assert bytes(part) == b"x" * 10
    del part
    ends.release()
    assert ends.put(b"z" * 8192) == offset


def test_views_outlive_growth(ends: Ends):
    """
    Blocks that were read stay where they are while the arena grows.
    """
    view = ends.reader.view(ends.put(b"a" * MIB), MIB)
    ends.put(b"b" * (64 * MIB))
    assert view == b"a" * MIB


def test_view_is_read_only(ends: Ends):
    """
    The reading end cannot change what the other end may still hold.
    """
    view = ends.reader.view(ends.put(b"a" * 4096), 4096)
    with pytest.raises(TypeError):
        view[0] = 0


def test_memory_is_given_back(ends: Ends):
    """
    An arena without blocks in use can be emptied; one in use cannot.
    """
    view = ends.reader.view(ends.put(b"a" * MIB), MIB)
    assert not ends.writer.trim()
    del view
    ends.release()
    assert ends.writer.trim()
    assert ends.size == 0


@pytest.mark.parametrize("told", [True, False])
def test_arena_grows_again_in_other_steps(ends: Ends, told: bool):
    """
    Blocks arrive whole after a trim, whether or not the reader has learned of it.
    """
    for size in (20, 20, 20):
        ends.reader.view(ends.put(b"a" * (size * MIB)), size * MIB)
    ends.release()
    assert ends.writer.trim()
    if told:
        ends.reader.resize(ends.writer.take_resized())
    data = os.urandom(150 * MIB)
    assert ends.reader.view(ends.put(data), len(data)) == data


def test_arena_has_a_limit():
    """
    Blocks that would not fit are sent through the stream.
    """
    ends = Ends(capacity=64 * MIB)
    assert ends.writer.store(memoryview(bytes(65 * MIB))) is None
    assert ends.writer.store(memoryview(bytes(64 * MIB))) == 0
    assert ends.writer.store(memoryview(b"x")) is None
    os.close(ends.descriptor)


@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, 65 * MIB), (1 << 40, 1), (1 << 63, 1), (0, 1 << 63), (30 * MIB, 4 * MIB)],
)
def test_a_view_lies_inside_the_arena(ends: Ends, offset: int, length: int):
    """
    A block is refused that is not there as a whole, and so is a size that is not true.
    """
    from fal_core_worker.stream.frames import UnreadableFrame

    ends.put(b"a")
    with pytest.raises(UnreadableFrame, match="shared memory"):
        ends.reader.view(offset, length)
    with pytest.raises(UnreadableFrame, match=f"has no {64 * MIB} bytes"):
        ends.reader.resize(64 * MIB)


def test_freed_blocks_are_whole_offsets(ends: Ends):
    """
    Blocks that are not used are ignored, and half an offset is refused.
    """
    from fal_core_worker.stream.frames import UnreadableFrame

    ends.writer.release(bytes(16))
    with pytest.raises(UnreadableFrame, match="cut short"):
        ends.writer.release(b"\0")


def test_calls_with_arrays_need_no_more_memory():
    """
    Arenas stay as large as a few calls need, however many carry buffers.

    No collection helps: blocks are free as soon as the caller drops the result.
    """
    pytest.importorskip("fal_host_local")
    from fal_core import function
    from fal_host_local import LocalHost

    host = LocalHost()

    class Block:
        def __init__(self, data: Any) -> None:
            self.data = data

        def __reduce_ex__(self, protocol: Any) -> Any:
            return Block, (pickle.PickleBuffer(self.data),)

    @function("current", host=host, max_concurrency=1)
    def echo(block: Block) -> Block:
        return block

    def in_arenas() -> int:
        (pool,) = host._pools.values()
        (worker,) = pool._roster.workers
        arenas = (worker._stream.inbound, worker._stream.outbound)
        return sum(os.fstat(arena.descriptor).st_size for arena in arenas)

    sent = Block(bytearray(8 * MIB))
    gc.disable()
    try:
        assert echo(sent).data == sent.data
        before = in_arenas()
        assert before > 0
        for _ in range(20):
            assert echo(sent).data.nbytes == 8 * MIB
        assert in_arenas() <= before
    finally:
        gc.enable()
        host.close()
