"""The stream: frames over two file descriptors."""

from __future__ import annotations

import mmap
import os
import select
import sys
import threading
import time
from collections.abc import Iterable, Sequence

from fal_core_worker.stream.frames import (
    ARENA,
    HEADER,
    HEADER_SIZE,
    RELEASE,
    VERSION,
    UnreadableFrame,
    check_size,
    pack_buffers,
    pack_frame,
    unpack_buffers,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fal_core_worker.stream.frames import Received

_READ_SIZE = 65536
#: Bytes: memory for a frame up to this size is taken before the frame has come. That for
#: a larger one is mapped, so that each page is taken when the first byte of it comes.
_TAKEN_AHEAD = 1 << 20

#: Seconds that a wait is short for.
_SOON = 100e-6
_POLLS = 80 if (os.cpu_count() or 1) > 1 else 0
#: Seconds that :meth:`FrameStream.end` waits for a thread that is sending.
_PATIENCE = 1.0
_yield_processor = getattr(os, "sched_yield", lambda: None)


class FrameStream:
    """
    Frames over two file descriptors, which the stream owns.

    Any thread may send; one thread at a time may read.

    Attributes:
        outbound: The arena that sent buffers are stored in, or None.

        inbound: The arena that received buffers are read from, or None.

        largest: The largest payload that is read, in bytes.

        soon: Seconds: a wait up to this long is short, and is spent polling. 0 where programs
            in between pass everything on: polling takes the processor from them.
    """

    largest: int = sys.maxsize
    soon = _SOON

    def __init__(self, reader: int, writer: int) -> None:
        self.reader: int = reader
        self.writer: int = writer
        self.outbound: Any = None
        self.inbound: Any = None
        self._lock = threading.Lock()
        self._rest: bytes = b""
        self._large: memoryview | None = None
        self._soon = False
        self._poll: select.poll | None = None
        self._filled = 0
        # Writes what fits, in a stream that does not wait for the other end.
        self._try: Any = None

    @property
    def is_sending(self) -> bool:
        """Whether a frame is being written."""
        return self._lock.locked()

    def send(
        self,
        kind: int,
        channel: int = 0,
        a: int = 0,
        b: int = 0,
        data: bytes = b"",
        buffers: Sequence[Any] = (),
    ) -> None:
        """
        Send a frame.

        Raises:
            OSError: The other end is gone.
        """
        if self.inbound is not None and self.inbound.freed:
            self._send_releases()
        if buffers:
            parts = pack_buffers(data, buffers, self.outbound)
            length = sum(len(part) for part in parts)
            header = HEADER.pack(kind, VERSION, len(buffers), channel, a, b, length)
            with self._lock:
                # The size is sent before the first frame that relies on it.
                if self.outbound is not None and self.outbound.resized:
                    header = pack_frame(ARENA, a=self.outbound.take_resized() >> 20) + header
                self._write([header, *parts])
            return
        message = HEADER.pack(kind, VERSION, 0, channel, a, b, len(data))
        if len(data) < _READ_SIZE:
            message += data
            with self._lock:
                attempt = self._try
                sent = os.write(self.writer, message) if attempt is None else attempt(message)
                if sent < len(message):
                    self._write([message[sent:]])
            return
        with self._lock:
            self._write([message, data])

    @property
    def shared_size(self) -> int:
        """Bytes of shared memory that this end has mapped."""
        arenas = (self.inbound, self.outbound)
        return sum(arena.size for arena in arenas if arena is not None)

    def trim(self) -> None:
        """Give shared memory back that no buffer uses. Called while this end is idle."""
        if self.inbound is not None:
            self._send_releases()
        if self.outbound is not None and self.outbound.trim():
            with self._lock:
                self._write([pack_frame(ARENA, a=self.outbound.take_resized() >> 20)])

    def write(self, data: bytes) -> None:
        """Send bytes that come before the first frame."""
        with self._lock:
            self._write([data])

    def read(self) -> list[Received] | None:
        """
        Read once. Return the frames that are complete, or None at the end of the stream.

        Raises:
            UnreadableFrame: The other end has sent what is no frame.
        """
        if self._large is not None:
            return self._read_large(self._large)
        try:
            chunk = os.read(self.reader, _READ_SIZE)
        except OSError:
            return None
        if not chunk:
            return None
        return self.parse(self._rest + chunk if self._rest else chunk)

    def read_soon(self) -> list[Received] | None:
        """
        Read once, like :meth:`read`, where a frame is expected within microseconds.

        Waking a sleeping process takes longer than a short call does. So if the last
        wait was short, this polls for some microseconds before it sleeps, and yields
        the processor between the polls.
        """
        began = time.perf_counter()
        if self._soon:
            poll = self._poll
            if poll is None:
                poll = self._poll = select.poll()
                poll.register(self.reader, select.POLLIN)
            for _ in range(_POLLS):
                if poll.poll(0):
                    return self.read()
                _yield_processor()
        received = self.read()
        self._soon = time.perf_counter() - began < self.soon
        return received

    def parse(self, data: bytes) -> list[Received]:
        """
        Return the frames that *data* completes, and keep the rest.

        Raises:
            UnreadableFrame: It holds what is no frame.
        """
        size = len(data)
        at = 0
        if size >= HEADER_SIZE:
            kind, version, buffers, channel, a, b, length = HEADER.unpack_from(data)
            usual = version == VERSION and kind < RELEASE and not buffers
            if usual and length + HEADER_SIZE == size:
                # The usual case: exactly one frame.
                self._rest = b""
                return [(kind, channel, a, b, data[HEADER_SIZE:])]
        frames: list[Received] = []
        while size - at >= HEADER_SIZE:
            kind, version, buffers, channel, a, b, length = HEADER.unpack_from(data, at)
            if version != VERSION:
                raise UnreadableFrame(f"a frame has version {version}, and not {VERSION}")
            start = at + HEADER_SIZE
            end = start + length
            if end > size:
                if length > _READ_SIZE:
                    check_size(kind, length, self.largest)
                    self._large = _make_room(HEADER_SIZE + length)
                    self._filled = size - at
                    self._large[: self._filled] = data[at:]
                    at = size
                break
            self._add(frames, kind, buffers, channel, a, b, data[start:end])
            at = end
        self._rest = data[at:]
        return frames

    def shut(self) -> None:
        """
        Shut the connection down, so that threads which send or read find it closed.

        The descriptors stay open, since such threads still use them.
        """
        # ``socket`` is slow to import.
        import _socket

        try:
            stream = _socket.socket(fileno=self.writer)
        except OSError:
            # Two pipes. The reading end takes the place of the other, so that writing fails.
            os.dup2(self.reader, self.writer, inheritable=False)
            return
        try:
            stream.shutdown(_socket.SHUT_RDWR)
        except OSError:
            pass  # The other end is gone.
        finally:
            stream.detach()

    def end(self) -> None:
        """Close the stream once no thread sends any more. Called by the thread that reads."""
        self.shut()
        # A thread that is stuck in a pipe which nobody reads is not waited for.
        sending = self._lock.acquire(timeout=_PATIENCE)
        try:
            self.close()
        finally:
            if sending:
                self._lock.release()

    def close(self) -> None:
        """
        Close both descriptors and the arenas. It may be called again.

        No other thread may be using them, see :meth:`end`.
        """
        descriptors = {self.reader, self.writer}
        self.reader = self.writer = -1
        for descriptor in descriptors:
            if descriptor >= 0:
                os.close(descriptor)
        for arena in (self.inbound, self.outbound):
            if arena is not None:
                arena.close()

    def _add(
        self,
        frames: list[Received],
        kind: int,
        buffers: int,
        channel: int,
        a: int,
        b: int,
        payload: Any,
    ) -> None:
        if kind in (ARENA, RELEASE):
            arena = self.inbound if kind == ARENA else self.outbound
            if arena is None:
                raise UnreadableFrame("a frame is about shared memory, and there is none")
            if kind == ARENA:
                arena.resize(a << 20)
            else:
                arena.release(payload)
        else:
            if buffers:
                payload = unpack_buffers(payload, buffers, self.inbound)
            frames.append((kind, channel, a, b, payload))

    def _read_large(self, large: memoryview) -> list[Received] | None:
        try:
            count = os.readv(self.reader, [large[self._filled :]])
        except OSError:
            return None
        if not count:
            return None
        self._filled += count
        if self._filled < len(large):
            return []
        self._large = None
        kind, _, buffers, channel, a, b, _ = HEADER.unpack_from(large)
        frames: list[Received] = []
        self._add(frames, kind, buffers, channel, a, b, large[HEADER_SIZE:])
        return frames

    def _send_releases(self) -> None:
        offsets = self.inbound.take_freed()
        if offsets:
            with self._lock:
                self._write([pack_frame(RELEASE, data=offsets)])

    def _write(self, parts: Iterable[Any]) -> None:
        write_all(self.writer, parts)


def write_all(descriptor: int, parts: Iterable[Any]) -> None:
    """Write *parts*, however many writes it takes."""
    views = views_of(parts)
    while views:
        drop(views, os.writev(descriptor, views[:64]))


def views_of(parts: Iterable[Any]) -> list[memoryview]:
    """Return the bytes of *parts*, to be written."""
    return [memoryview(part).cast("B") for part in parts if len(part)]


def drop(views: list[memoryview], count: int) -> None:
    """Take the first *count* bytes, which have been written, from *views*."""
    while views and count >= len(views[0]):
        count -= len(views[0])
        del views[0]
    if count:
        views[0] = views[0][count:]


def _make_room(size: int) -> memoryview:
    """
    Return memory for *size* bytes that are announced, and may never come.

    Raises:
        UnreadableFrame: This machine has not as much.
    """
    if size <= _TAKEN_AHEAD:
        return memoryview(bytearray(size))
    try:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        return memoryview(mmap.mmap(-1, size, flags=flags))
    except (OSError, OverflowError, ValueError):
        raise UnreadableFrame(f"a frame announces {size} bytes: there is no memory") from None
