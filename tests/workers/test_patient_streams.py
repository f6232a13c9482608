"""Streams to processes that start."""

from __future__ import annotations

import os
import select
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from fal_core.sinks import get_event_thread
from fal_core.workers import patient_streams
from fal_core.workers.patient_streams import PatientStream
from fal_core_worker.stream.frames import CALL
from fal_core_worker.stream.streams import FrameStream
from fal_testing.harness.processes import wait_until


@pytest.mark.parametrize("kind", ["pipes", "sockets"])
def test_beginning_does_not_wait_for_the_other_end(kind: str) -> None:
    """What the other end does not read yet is sent by a thread, and frames after it in order."""
    if kind == "pipes":
        reader, writer = os.pipe()
    else:
        ours, theirs = socket.socketpair()
        reader, writer = theirs.detach(), ours.detach()
    stream = PatientStream(os.open(os.devnull, os.O_RDONLY), writer)
    head = bytes(range(256)) * 8192
    try:
        stream.begin(head)
        stream.send(5, 1, data=b"small")
        stream.send(6, 2, data=b"large" * 100_000)
        stream.send(7, 3, data=b"with", buffers=[bytearray(b"buffer" * 10_000)])

        got = b""
        while len(got) < len(head):
            got += os.read(reader, len(head) - len(got))
        assert got == head
        other = FrameStream(os.dup(reader), os.open(os.devnull, os.O_WRONLY))
        frames: list[Any] = []
        while len(frames) < 3:
            frames += other.read() or ()
        assert [frame[:2] for frame in frames] == [(5, 1), (6, 2), (7, 3)]
        other.close()
    finally:
        os.close(reader)
        stream.end()


def test_an_end_that_never_reads_is_given_up() -> None:
    """Closing the other end ends what is being sent to it."""
    reader, writer = os.pipe()
    stream = PatientStream(os.open(os.devnull, os.O_RDONLY), writer)
    stream.begin(bytes(1 << 20))
    stream.send(5, 1, data=b"kept")
    os.close(reader)

    def is_refused() -> bool:
        try:
            stream.send(5, 1, data=b"late")
        except BrokenPipeError:
            return True
        return False

    assert wait_until(is_refused, 60.0)
    stream.end()


@pytest.mark.parametrize("kind", ["pipes", "sockets"])
def test_large_frames_wait_until_the_other_end_is_heard_of(kind: str) -> None:
    """Also where what was sent first has fitted into the connection."""
    if kind == "pipes":
        reader, writer = os.pipe()
    else:
        ours, theirs = socket.socketpair()
        reader, writer = theirs.detach(), ours.detach()
    stream = PatientStream(os.open(os.devnull, os.O_RDONLY), writer)
    other = FrameStream(reader, os.open(os.devnull, os.O_WRONLY))
    large = os.urandom(4 << 20)
    try:
        stream.begin(b"")
        stream.send(5, 1, data=b"small")
        stream.send(6, 2, data=large)
        frames: list[Any] = []
        while len(frames) < 2:
            frames += other.read() or ()
        assert [frame[:2] for frame in frames] == [(5, 1), (6, 2)]
        assert bytes(frames[1][4]) == large

        stream.heard()
        assert wait_until(lambda: not stream._held, 60.0)
    finally:
        other.close()
        stream.end()


def test_nothing_is_written_to_another_file(tmp_path: Path) -> None:
    """What is kept for a stream that is closed goes nowhere, whatever its descriptor is used for."""
    reader, writer = os.pipe()
    stream = PatientStream(os.open(os.devnull, os.O_RDONLY), writer)
    stream.begin(b"x" * (1 << 20))
    stream.send(5, 1, data=b"secret")

    stream.end()
    descriptors = [os.open(tmp_path / str(n), os.O_CREAT | os.O_WRONLY) for n in range(8)]
    assert writer in descriptors
    while os.read(reader, 1 << 20):
        pass

    assert [os.fstat(each).st_size for each in descriptors] == [0] * 8
    for descriptor in (reader, *descriptors):
        os.close(descriptor)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_keeps_no_stream_open() -> None:
    """Where it has abandoned the stream, the other end finds out that this one has closed it."""
    reader, writer = os.pipe()
    stream = PatientStream(os.open(os.devnull, os.O_RDONLY), writer)
    stream.begin(b"x" * (1 << 20))
    going, go = os.pipe()
    child = os.fork()
    if not child:
        stream.abandon()
        os.close(go)
        # Until the parent process has closed the other end.
        os.read(going, 1)
        os._exit(0)
    try:
        stream.end()
        while select.select([reader], [], [], 60.0)[0]:
            if not os.read(reader, 1 << 20):
                break
        else:
            pytest.fail("The forked child keeps the stream open.")
    finally:
        for descriptor in (go, going, reader):
            os.close(descriptor)
        os.waitpid(child, 0)


def make_stream(kind: str) -> tuple[PatientStream, FrameStream]:
    """Return a stream, and that of its other end."""
    if kind == "pipes":
        there, writer = os.pipe()
        reader = os.open(os.devnull, os.O_RDONLY)
    else:
        ours, theirs = socket.socketpair()
        there = theirs.detach()
        reader = writer = ours.detach()
    other = FrameStream(there, os.open(os.devnull, os.O_WRONLY))
    return PatientStream(reader, writer), other


@pytest.mark.parametrize("kind", ["pipes", "sockets"])
@pytest.mark.parametrize("size", [100, 5_000, 30_000, 65_000])
def test_no_frame_of_any_size_waits_for_an_end_that_reads_no_more(kind: str, size: int) -> None:
    """Also where there is room for a part of it."""
    stream, other = make_stream(kind)
    count = 3_000_000 // size

    def send() -> None:
        for number in range(count):
            stream.send(CALL, 1, number, data=bytes(size))

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    try:
        sender.join(60)
        assert not sender.is_alive()
        frames: list[Any] = []
        while len(frames) < count:
            frames += other.read() or ()
        assert [(frame[2], len(frame[4])) for frame in frames] == [
            (number, size) for number in range(count)
        ]
    finally:
        other.close()
        stream.end()


@pytest.mark.parametrize("end", ["read", "close", "shut"])
def test_what_is_kept_may_have_a_bound(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Whoever waits for room does so until the other end reads or is gone, or the stream is
    closed; the event thread does not, and others may send meanwhile.
    """
    monkeypatch.setattr(patient_streams, "_MOST_KEPT", 1 << 20)
    stream, other = make_stream("sockets")
    sent = 0

    def send() -> None:
        nonlocal sent
        try:
            for number in range(40):
                stream.wait_for_room()
                stream.send(CALL, 1, number, data=bytes(1 << 18))
                sent += 1
        except OSError:
            pass

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    is_bounded = wait_until(lambda: stream._kept_size > 1 << 20, 60)
    assert is_bounded
    stream.send(CALL, 2, data=b"small")
    told = threading.Event()

    def send_more() -> None:
        stream.wait_for_room()
        stream.send(CALL, 3, data=bytes(1 << 18))
        told.set()

    get_event_thread().after(0, send_more)
    assert told.wait(60)
    assert sent < 10
    try:
        if end == "read":
            frames: list[Any] = []
            while len(frames) < 42:
                frames += other.read() or ()
            assert [frame[2] for frame in frames if frame[1] == 1] == list(range(40))
        elif end == "close":
            other.close()
        else:
            stream.end()
        sender.join(60)
        assert not sender.is_alive()
    finally:
        if end != "close":
            other.close()
        if end != "shut":
            stream.end()


@pytest.mark.parametrize("kind", ["pipes", "sockets"])
def test_an_end_that_reads_no_more_is_not_waited_for(kind: str) -> None:
    """
    Whoever sends to an end that has been heard of, and was stopped, goes on after a moment;
    frames arrive in order once it reads again.
    """
    stream, other = make_stream(kind)
    try:
        for number in range(3):
            stream.send(CALL, 1, data=bytes([number]) * (1 << 21))
        for number in range(1000):
            stream.send(CALL, 2, number, data=b"small")
        frames: list[Any] = []
        while len(frames) < 1003:
            frames += other.read() or ()
        assert [bytes(frame[4][:1]) for frame in frames[:3]] == [b"\0", b"\1", b"\2"]
        assert [len(frame[4]) for frame in frames[:3]] == [1 << 21] * 3
        assert [frame[2] for frame in frames[3:]] == list(range(1000))
        # All was sent, and the next frames are sent at once.
        assert wait_until(lambda: not stream._held, 60)
        stream.send(7, 3, data=b"direct")
        assert [frame[:2] for frame in other.read() or ()] == [(7, 3)]
    finally:
        other.close()
        stream.end()
