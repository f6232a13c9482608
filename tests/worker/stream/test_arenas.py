"""Shared memory between the ends of a stream."""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from fal_core_worker.stream import mappings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs memfd_create")

MIB = 1 << 20


class Ends:
    """Both ends of one arena."""

    def __init__(self, capacity: int = 512 * MIB) -> None:
        from fal_core_worker.stream.arenas import InboundArena, OutboundArena

        self.descriptor = os.memfd_create("arena", os.MFD_CLOEXEC)
        self.writer = OutboundArena(self.descriptor, capacity)
        self.reader = InboundArena(self.descriptor)

    def put(self, data: bytes) -> int:
        """Store *data*, and send the size of the arena to the other end."""
        offset = self.writer.store(memoryview(data))
        assert offset is not None
        if self.writer.resized:
            self.reader.resize(self.writer.take_resized())
        return offset

    def release(self) -> None:
        """Tell the writing end which blocks are free."""
        self.writer.release(self.reader.take_freed())

    @property
    def size(self) -> int:
        """The memory of the arena in bytes."""
        return os.fstat(self.descriptor).st_blocks * 512


@pytest.fixture
def ends() -> Iterator[Ends]:
    ends = Ends()
    yield ends
    os.close(ends.descriptor)


def test_stored_blocks_are_read(ends: Ends):
    """Blocks of any size arrive whole, however often the arena has grown between."""
    sent = [os.urandom(size) for size in (1, 4096, 5000, 40 * MIB, 3, 33 * MIB)]
    offsets = [ends.put(data) for data in sent]
    for offset, data in zip(offsets, sent, strict=True):
        assert ends.reader.view(offset, len(data)) == data


def test_block_is_free_when_its_last_view_dies(ends: Ends):
    """A view of a view keeps the block; once it is gone the next one takes its place."""
    offset = ends.put(b"x" * 8192)
    part = ends.reader.view(offset, 8192)[10:20]
    ends.release()
    assert ends.put(b"y" * 8192) != offset
    assert bytes(part) == b"x" * 10
    del part
    ends.release()
    assert ends.put(b"z" * 8192) == offset


def test_views_outlive_growth(ends: Ends):
    """Blocks that were read stay where they are while the arena grows."""
    view = ends.reader.view(ends.put(b"a" * MIB), MIB)
    ends.put(b"b" * (64 * MIB))
    assert view == b"a" * MIB


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize(
    "written",
    [slice(0, 1), slice(-1, None), slice(None), slice(None, None, 4096 * 40), slice(0, 0)],
)
def test_what_is_written_to_a_view_stays_there(
    ends: Ends, written: slice, told: bool, monkeypatch: pytest.MonkeyPatch
):
    """
    The arena keeps what was sent, and what comes next to the same place is shown as it is.

    That is so where the system does not tell which pages were written to.
    """
    if not told:
        monkeypatch.setattr(mappings, "_PAGES", "/proc/none")
    sent = os.urandom(MIB + 100)
    for number in range(3):
        offset = ends.put(sent)
        view = ends.reader.view(offset, len(sent))
        assert view == sent
        expected = bytearray(sent)
        expected[written] = bytes(len(expected[written]))
        view[written] = bytes(len(expected[written]))
        assert view == expected
        assert os.pread(ends.descriptor, len(sent), offset) == sent
        del view
        ends.release()
        assert offset == 0
        sent = bytes([number]) * len(sent)


def test_changes_are_dropped_where_the_system_stops_telling(ends: Ends):
    """Where it cannot be asked any more which pages were written to, all count as written."""
    view = ends.reader.view(ends.put(b"a" * MIB), MIB)
    view[:] = b"b" * MIB
    os.close(ends.reader._maps._pages)
    ends.reader._maps._pages = -1
    del view
    ends.release()
    assert ends.reader.view(ends.put(b"c" * MIB), MIB) == b"c" * MIB


def test_a_view_outlives_what_the_other_end_has_trimmed(ends: Ends):
    """The other end may say that it has given back what is still in use here."""
    offset = ends.put(b"a" * MIB)
    view = ends.reader.view(offset, MIB)
    view[0] = 1
    ends.reader.resize(0)
    assert view[:2] == b"\x01a"
    del view
    assert ends.reader.take_freed() == offset.to_bytes(8, "little")


def test_views_are_written_apart(ends: Ends):
    """Two values that came one after the other do not change with each other."""
    first, second = (ends.reader.view(ends.put(b"a" * 5000), 5000) for _ in range(2))
    first[:] = b"b" * 5000
    ends.release()
    assert second == b"a" * 5000


def test_copies_take_memory_only_while_they_are_used(ends: Ends):
    """The pages that were copied for a view are given back with its block."""
    offset = ends.put(bytes(16 * MIB))
    before = own_memory()
    view = ends.reader.view(offset, 16 * MIB)
    assert view[::4096] == bytes(4096)
    assert own_memory() - before < 8 * MIB
    view[::4096] = b"a" * 4096
    assert own_memory() - before > 12 * MIB
    del view
    ends.release()
    assert own_memory() - before < 8 * MIB


def own_memory() -> int:
    """Return how much memory this process has that belongs to no file, in bytes."""
    with open("/proc/self/status") as file:
        (line,) = (line for line in file if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024


#: Sends blocks to itself from a process that has changed how its memory is treated.
IN_A_PROCESS = """
import ctypes, os, resource, sys
from fal_core_worker.stream.arenas import InboundArena, OutboundArena

libc = ctypes.CDLL(None, use_errno=True)

def lock():
    if libc.mlockall(3):
        sys.exit(77)

def limit():
    with open("/proc/self/status") as file:
        (line,) = (line for line in file if line.startswith("VmData:"))
    data = int(line.split()[1]) * 1024 + (16 << 20)
    resource.setrlimit(resource.RLIMIT_DATA, (data, data))

begin = {"lock": lock, "limit": limit}[sys.argv[1]]
descriptor = os.memfd_create("arena")
begin()
writer, reader = OutboundArena(descriptor, 64 << 20), InboundArena(descriptor)
for number in range(1, 4):
    sent = bytes([number]) * (1 << 20)
    offset = writer.store(memoryview(sent))
    if writer.resized:
        reader.resize(writer.take_resized())
    view = reader.view(offset, 1 << 20)
    assert view == sent, (view[0], number)
    view[:] = bytes(1 << 20)
    assert os.pread(descriptor, 1 << 20, offset) == sent
    del view
    writer.release(reader.take_freed())
"""


@pytest.mark.parametrize("way", ["lock", "limit"])
def test_views_are_right_where_memory_is_locked_or_limited(way: str):
    """
    A process whose pages the system copies at once, or that may have no more of its own,
    gets a copy of each block.
    """
    command = [sys.executable, "-c", IN_A_PROCESS, way]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode == 77:
        pytest.skip("this process may not lock its memory")
    assert done.returncode == 0, done.stderr


@contextmanager
def forked(run: Callable[[], object]) -> Iterator[Callable[[], int]]:
    """
    Fork a process that waits to be told, then calls *run* and exits with its result.

    Yield what tells it and waits for the result.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(writer)
            os.read(reader, 1)
            os._exit(int(bool(run())))
        finally:
            os._exit(3)
    os.close(reader)
    ended = False

    def tell() -> int:
        nonlocal ended
        ended = True
        os.close(writer)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    try:
        yield tell
    finally:
        if not ended:
            tell()


forks_here = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)


@forks_here
@pytest.mark.parametrize("writes", [True, False])
def test_a_block_in_use_at_a_fork_is_not_used_again_while_that_process_lives(
    ends: Ends, writes: bool
):
    """The forked process reads what there was when it was forked, or what it wrote itself."""
    views = [ends.reader.view(ends.put(b"a" * MIB), MIB)]

    def is_right() -> bool:
        (view,) = views
        if writes:
            view[:4096] = b"c" * 4096
        return bytes(view) == (b"c" * 4096 if writes else b"a" * 4096) + b"a" * (MIB - 4096)

    with forked(is_right) as tell:
        views.clear()
        ends.release()
        assert ends.put(b"b" * MIB) != 0
        ends.reader.view(MIB, MIB)
        ends.release()
        assert not ends.writer.trim()
        assert tell() == 1
    ends.release()
    assert ends.put(b"b" * MIB) == 0
    assert ends.reader.view(0, MIB) == b"b" * MIB
    ends.release()
    assert ends.writer.trim()


@forks_here
def test_forked_processes_take_no_more_than_there_is(ends: Ends):
    """Blocks that forked processes keep count as used: what has no room is sent otherwise."""
    ends.writer.capacity = 32 * MIB
    with ExitStack() as stack:
        views = []
        for number in range(2):
            views.append(ends.reader.view(ends.put(bytes([number]) * (16 * MIB)), 16 * MIB))
            kept = views[-1]
            stack.enter_context(forked(lambda kept=kept: bytes(kept)))
        views.clear()
        del kept
        ends.release()
        assert ends.writer.store(memoryview(b"x")) is None
    ends.release()
    assert ends.writer.store(memoryview(b"x")) == 0


def test_memory_is_given_back(ends: Ends):
    """An arena without blocks in use can be emptied; one in use cannot."""
    view = ends.reader.view(ends.put(b"a" * MIB), MIB)
    assert not ends.writer.trim()
    del view
    ends.release()
    assert ends.writer.trim()
    assert ends.size == 0


def test_memory_of_free_blocks_is_given_back(ends: Ends):
    """One block that is in use for long does not keep the memory of all others."""
    views = [ends.reader.view(ends.put(b"a" * MIB), MIB) for _ in range(40)]
    kept = views[20]
    views.clear()
    ends.release()
    assert ends.size >= 40 * MIB
    assert not ends.writer.trim()
    assert ends.size == MIB
    assert kept == b"a" * MIB
    for data in (b"b" * (20 * MIB), b"c" * (11 * MIB)):
        assert ends.reader.view(ends.put(data), len(data)) == data
        ends.release()
    assert not ends.writer.trim()
    assert ends.size == MIB
    assert kept == b"a" * MIB


@pytest.mark.parametrize("told", [True, False])
def test_arena_grows_again_in_other_steps(ends: Ends, told: bool):
    """Blocks arrive whole after a trim, whether or not the reader has learned of it."""
    for size in (20, 20, 20):
        ends.reader.view(ends.put(b"a" * (size * MIB)), size * MIB)
    ends.release()
    assert ends.writer.trim()
    if told:
        ends.reader.resize(ends.writer.take_resized())
    data = os.urandom(150 * MIB)
    assert ends.reader.view(ends.put(data), len(data)) == data


def test_arena_has_a_limit():
    """Blocks that would not fit are sent through the stream."""
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
    """A block is refused that is not there as a whole, and so is a size that is not true."""
    from fal_core_worker.stream.frames import UnreadableFrame

    ends.put(b"a")
    with pytest.raises(UnreadableFrame, match="shared memory"):
        ends.reader.view(offset, length)
    with pytest.raises(UnreadableFrame, match=f"has no {64 * MIB} bytes"):
        ends.reader.resize(64 * MIB)


def test_freed_blocks_are_whole_offsets(ends: Ends):
    """Blocks that are not used are ignored, and half an offset is refused."""
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
        (pool,) = host._pools.pools.values()
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
