"""The stream: frames over two descriptors, in pieces of any size."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fal_core_worker.stream import streams
from fal_core_worker.stream.arenas import InboundArena, OutboundArena
from fal_core_worker.stream.frames import (
    ARENA,
    CALL,
    HEADER,
    INLINE,
    ITEM,
    LARGEST_LOG,
    LOG,
    OUTCOME,
    READY,
    RELEASE,
    VERSION,
    UnreadableFrame,
    pack_frame,
)
from fal_core_worker.stream.streams import FrameStream
from fal_testing.harness.processes import wait_until

MIB = 1 << 20


class Ends:
    """Two streams that are connected by pipes, or by a pair of sockets."""

    def __init__(self, *, sockets: bool = False) -> None:
        if sockets:
            here, there = (end.detach() for end in socket.socketpair())
            self.here, self.there = FrameStream(here, here), FrameStream(there, there)
        else:
            (back, there), (here, forth) = os.pipe(), os.pipe()
            self.here, self.there = FrameStream(here, there), FrameStream(back, forth)

    def share(self) -> None:
        """Have shared memory carry what is sent from here to there."""
        descriptor = os.memfd_create("arena", os.MFD_CLOEXEC)
        self.here.outbound = OutboundArena(descriptor, 256 * MIB)
        self.there.inbound = InboundArena(os.dup(descriptor))

    def take(self, count: int) -> list[Any]:
        """Return the next *count* frames that have come there."""
        taken: list[Any] = []
        while len(taken) < count:
            got = self.there.read()
            assert got is not None
            taken += got
        return taken


@pytest.fixture(params=["pipes", "sockets"])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    ends = Ends(sockets=request.param == "sockets")
    yield ends
    ends.here.close()
    ends.there.close()


numbers = st.integers(0, 2**32 - 1)
sent_frames = st.lists(
    st.tuples(
        st.integers(1, 63), numbers, numbers, numbers, st.binary(), st.lists(st.binary())
    ),
    max_size=8,
)


@given(sent_frames, st.integers(1, 200))
def test_frames_arrive_in_any_pieces(sent: list[Any], size: int) -> None:
    """However the bytes are cut on their way, the frames come whole and in their order."""
    stream = FrameStream(-1, -1)
    written = b""
    for kind, channel, a, b, data, buffers in sent:
        if buffers:
            ends = Ends()
            ends.here.send(kind, channel, a, b, data, buffers)
            ends.here.close()
            while part := os.read(ends.there.reader, 1 << 16):
                written += part
            ends.there.close()
        else:
            written += pack_frame(kind, channel, a, b, data)
    received = []
    rest = b""
    for at in range(0, len(written), size):
        received += stream.parse(rest + written[at : at + size])
        rest = stream._rest
    assert len(received) == len(sent)
    for got, (*head, data, buffers) in zip(received, sent, strict=True):
        assert list(got[:4]) == head
        if buffers:
            again, views = got[4]
            assert (again, [bytes(view) for view in views]) == (data, buffers)
        else:
            assert got[4] == data


@pytest.mark.parametrize("size", [0, 65535, 65536, 65537, 3 * MIB])
def test_payloads_of_any_size_are_sent_whole(ends: Ends, size: int) -> None:
    """A frame that no pipe holds at once is written and read in parts, between small ones."""
    large = os.urandom(size)

    def send() -> None:
        ends.here.send(CALL, 1, data=b"before")
        ends.here.send(CALL, 2, data=large)
        ends.here.send(CALL, 3, 4, 5, b"arguments", [memoryview(large), b"small"])
        ends.here.send(CALL, 6, data=b"after")

    thread = threading.Thread(target=send)
    thread.start()
    before, whole, parted, after = ends.take(4)
    thread.join(30)
    assert before == (CALL, 1, 0, 0, b"before")
    assert bytes(whole[4]) == large
    data, buffers = parted[4]
    assert parted[:4] == (CALL, 3, 4, 5)
    assert (data, [bytes(view) for view in buffers]) == (b"arguments", [large, b"small"])
    assert after == (CALL, 6, 0, 0, b"after")


def test_many_buffers_are_sent_in_several_writes(ends: Ends) -> None:
    """A frame may carry more buffers than the system takes at once."""
    sent = [b"%d" % number for number in range(1100)]
    ends.here.send(CALL, data=b"arguments", buffers=sent)
    ((_, _, _, _, (data, buffers)),) = ends.take(1)
    assert (data, [bytes(view) for view in buffers]) == (b"arguments", sent)


def test_a_signal_in_the_middle_of_a_frame_changes_nothing(ends: Ends) -> None:
    """A write that a signal cuts short is gone on with where it stopped."""
    data = os.urandom(16 * MIB)
    caught, received = [], []
    done, main = threading.Event(), threading.get_ident()

    def interrupt() -> None:
        while not done.wait(1e-4):
            signal.pthread_kill(main, signal.SIGUSR1)

    # It would wait for what was lost.
    reading = threading.Thread(target=lambda: received.extend(ends.take(4)), daemon=True)
    interrupting = threading.Thread(target=interrupt)
    before = signal.signal(signal.SIGUSR1, lambda *_: caught.append(1))
    reading.start()
    interrupting.start()
    try:
        for channel in range(4):
            ends.here.send(CALL, channel, data=data)
    finally:
        done.set()
        interrupting.join()
        signal.signal(signal.SIGUSR1, before)
    reading.join(30)
    assert caught
    assert [frame[1] for frame in received] == [0, 1, 2, 3]
    assert all(frame[4] == data for frame in received)


def test_threads_do_not_mix_their_frames(ends: Ends) -> None:
    """Frames of threads that send at once are whole, those of one thread in their order."""
    count, data = 40, os.urandom(20_000)

    def send(channel: int) -> None:
        for number in range(count):
            ends.here.send(ITEM, channel, number, data=data, buffers=[data])

    threads = [threading.Thread(target=send, args=(channel,)) for channel in range(4)]
    for thread in threads:
        thread.start()
    taken = ends.take(4 * count)
    for thread in threads:
        thread.join(30)
    assert all(bytes(frame[4][1][0]) == data for frame in taken)
    for channel in range(4):
        mine = [frame[2] for frame in taken if frame[1] == channel]
        assert mine == list(range(count))


def test_the_end_is_none(ends: Ends) -> None:
    """A stream whose other end is closed, or in the middle of a frame, has ended."""
    header = HEADER.pack(LOG, VERSION, 0, 0, 0, 0, 3 * MIB)
    ends.here.write(header + b"begun")
    ends.here.close()
    assert ends.there.read() == []
    assert ends.there.read() is None
    with pytest.raises(OSError):  # noqa: PT011  # a pipe and a socket have each their own
        ends.there.send(LOG, data=bytes(MIB))


def test_a_stream_that_was_shut_ends_for_those_that_use_it(ends: Ends) -> None:
    """
    A thread that waits for the other end finds the end, and one that sends an error, while
    both descriptors stay open.
    """
    descriptors = {ends.here.reader, ends.here.writer}
    ends.here.shut()
    with pytest.raises(OSError):  # noqa: PT011  # a pipe and a socket have each their own
        ends.here.send(LOG)
    assert ends.there.read() is None
    for descriptor in descriptors:
        os.fstat(descriptor)
    ends.here.shut()


def test_ending_does_not_wait_for_a_thread_that_nobody_reads(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream ends though a thread is sending what the other end never reads."""
    monkeypatch.setattr(streams, "_PATIENCE", 0.05)
    failed = threading.Event()

    def send() -> None:
        try:
            ends.here.send(CALL, data=bytes(8 * MIB))
        except OSError:
            failed.set()

    thread = threading.Thread(target=send)
    thread.start()
    # The pipe is full once it has begun, and the thread holds the lock until it fails.
    assert wait_until(lambda: ends.here.is_sending, 30)
    ends.here.end()
    assert (ends.here.reader, ends.here.writer) == (-1, -1)
    ends.here.close()
    ends.there.close()
    thread.join(30)
    assert failed.is_set()


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs memfd_create")
def test_buffers_go_through_shared_memory_and_back(ends: Ends) -> None:
    """
    The other end learns how large the arena is before a frame that needs it, and gives a
    buffer back with whatever it sends next.
    """
    ends.share()
    data = os.urandom(MIB)
    ends.here.send(CALL, 1, data=b"arguments", buffers=[data])
    ((_, _, _, _, payload),) = ends.take(1)
    assert payload[1][0] == data
    assert ends.here.shared_size == ends.there.shared_size == 32 * MIB

    # It is still held there.
    ends.here.trim()
    assert ends.here.shared_size == 32 * MIB
    del payload
    ends.there.send(LOG)
    received = ends.here.read()
    assert received == [(LOG, 0, 0, 0, b"")]
    ends.here.trim()
    assert ends.here.shared_size == 0
    assert ends.there.read() == []
    assert ends.there.shared_size == 0


def feed(stream: FrameStream, data: bytes, size: int) -> list[Any]:
    """Return the frames that *stream* reads from *data*, which comes in pieces of a size."""
    received: list[Any] = []
    stream.reader = os.memfd_create("pieces")
    for at in range(0, len(data), size):
        os.pwrite(stream.reader, data[at : at + size], at)
        received += stream.read() or ()
    return received


@st.composite
def unreliable(draw: st.DrawFn) -> bytes:
    """Bytes that a program writes which knows frames, and means no good."""
    header = st.builds(
        HEADER.pack,
        st.sampled_from((ITEM, LOG, OUTCOME, READY, RELEASE, ARENA)) | st.integers(0, 255),
        st.sampled_from((VERSION, VERSION, VERSION, 0)),
        st.sampled_from((0, 0, 1, 2, 65535)),
        numbers,
        numbers,
        numbers,
        st.integers(0, 64) | st.integers(0, 2**64 - 1),
    )
    valid = st.builds(
        pack_frame,
        st.sampled_from((ITEM, LOG, OUTCOME)),
        numbers,
        numbers,
        numbers,
        st.binary(),
    )
    table = st.builds(
        lambda *pairs: b"".join(each.to_bytes(8, "little") for each in pairs),
        *(st.integers(0, 64) | st.sampled_from((INLINE, 1 << 32, 1 << 63)) for _ in range(5)),
    )
    return b"".join(draw(st.lists(header | valid | table | st.binary(), max_size=6)))


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs memfd_create")
@given(unreliable(), st.integers(1, 200), st.booleans())
def test_whatever_comes_is_frames_or_one_error(data: bytes, size: int, shared: bool) -> None:
    """
    Bytes of any kind are read as frames, or refused by the one error, and take no more
    memory than they are long.
    """
    stream = FrameStream(-1, -1)
    if shared:
        descriptor = os.memfd_create("arena", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, MIB)
        stream.inbound = InboundArena(descriptor)
        stream.outbound = OutboundArena(os.dup(descriptor), MIB)
    before = resident()
    try:
        received = feed(stream, data, size)
    except UnreadableFrame:
        received = []
    finally:
        stream.close()
    assert not {frame[0] for frame in received} & {ARENA, RELEASE}
    assert {type(frame[4]) for frame in received} <= {bytes, memoryview, tuple}
    assert resident() - before < 8 * MIB


def resident() -> int:
    """Return how much memory this process has, in bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_what_is_announced_takes_no_memory(ends: Ends) -> None:
    """Memory for a frame is taken as its bytes come, however many are announced."""
    before = resident()
    ends.here.write(HEADER.pack(OUTCOME, VERSION, 0, 1, 0, 0, 3 << 30))
    assert ends.there.read() == []
    ends.here.write(b"begun")
    assert ends.there.read() == []
    assert resident() - before < 64 * MIB


@pytest.mark.parametrize(
    ("frame", "what"),
    [
        (HEADER.pack(OUTCOME, VERSION + 1, 0, 1, 0, 0, 0), "version 2"),
        (HEADER.pack(OUTCOME, VERSION, 0, 1, 0, 0, 1 << 63), "9223372036854775808 bytes"),
        (HEADER.pack(OUTCOME, VERSION, 0, 1, 0, 0, 1 << 60), "no memory"),
        (HEADER.pack(READY, VERSION, 0, 1, 0, 0, 1 << 17), "of at most 65536"),
        (HEADER.pack(LOG, VERSION, 0, 1, 0, 0, LARGEST_LOG + 1), f"of at most {LARGEST_LOG}"),
        (HEADER.pack(99, VERSION, 0, 1, 0, 0, 1 << 20), "kind 99"),
        (HEADER.pack(ARENA, VERSION, 0, 0, 1, 0, 0), "there is none"),
        (HEADER.pack(RELEASE, VERSION, 0, 0, 0, 0, 0), "there is none"),
        (HEADER.pack(ITEM, VERSION, 1, 1, 0, 1, 3) + b"abc", "shorter than their table"),
        (HEADER.pack(ITEM, VERSION, 1, 1, 0, 1, 24) + b"\xff" * 16 + bytes(8), "longer than"),
        (HEADER.pack(ITEM, VERSION, 1, 1, 0, 1, 24) + bytes(24), "there is none"),
    ],
)
def test_a_frame_that_cannot_be_read_is_refused(ends: Ends, frame: bytes, what: str) -> None:
    """The error says what is wrong with it."""
    ends.here.write(frame)
    with pytest.raises(UnreadableFrame, match=what):
        ends.there.read()


def test_a_stream_has_a_limit_of_its_own(ends: Ends) -> None:
    """A reader may take less than there is memory for."""
    ends.there.largest = MIB
    with pytest.raises(UnreadableFrame, match=f"announces {MIB + 1} bytes, of at most {MIB}"):
        ends.there.parse(HEADER.pack(ITEM, VERSION, 0, 1, 0, 0, MIB + 1))


@pytest.mark.parametrize("soon", [60.0, 0.0], ids=["direct", "relayed"])
def test_who_passes_frames_on_has_the_processor(
    ends: Ends, soon: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream that programs in between pass on is not polled, however short the last wait was."""
    ends.there.soon = soon
    polls: list[None] = []
    sender = threading.Thread(target=ends.here.send, args=(LOG, 9))

    def count() -> None:
        polls.append(None)
        if len(polls) == 1:
            sender.start()

    monkeypatch.setattr(streams, "_yield_processor", count)
    monkeypatch.setattr(streams, "_POLLS", 80)
    ends.here.send(LOG, 1)
    assert ends.there.read_soon() == [(LOG, 1, 0, 0, b"")]
    if not soon:
        sender.start()
    assert ends.there.read_soon() == [(LOG, 9, 0, 0, b"")]
    sender.join()
    assert bool(polls) == bool(soon)


def test_a_short_wait_is_spent_polling(ends: Ends) -> None:
    """A frame that comes soon after another is received, whether or not it was waited for."""
    for number in range(3):
        ends.here.send(LOG, number)
        assert ends.there.read_soon() == [(LOG, number, 0, 0, b"")]
    thread = threading.Thread(target=ends.here.send, args=(LOG, 9))
    thread.start()
    assert ends.there.read_soon() == [(LOG, 9, 0, 0, b"")]
    thread.join()
    ends.here.close()
    assert ends.there.read_soon() is None
