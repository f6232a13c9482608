"""
Frames: what the two ends of a worker's stream say to each other.

The worker's side of a stream begins with :data:`MAGIC`; bytes before it are
output of whatever ran first. A frame is a header of 24 bytes, little endian,
and its payload::

    kind u8 · version u8 · buffers u16 · channel u32 · a u32 · b u32 · length u64

The header is frozen: a later version may add kinds, and change payloads.
The channel numbers the call that a frame belongs to; 0 is the worker itself.
*a* and *b* are numbers whose meaning is the kind's. Where *buffers* is not 0
the payload begins with a table of them, see :func:`pack_buffers`.
"""

from __future__ import annotations

import os
import select
import struct
import threading
import time
from collections import namedtuple
from collections.abc import Iterable, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple

    #: A frame as it is read; making a plain tuple is much the quickest.
    Received = tuple[int, int, int, int, Any]

    class _Frame(NamedTuple):
        kind: int
        channel: int
        a: int
        b: int
        payload: Any
else:
    # The typed form takes a module that is slow to import.
    _Frame = namedtuple("_Frame", ("kind", "channel", "a", "b", "payload"))

MAGIC = b"\x00fal-core-worker\x01\n"
HEADER = struct.Struct("<BBHIIIQ")
HEADER_SIZE = HEADER.size
VERSION = 1
INLINE = 0xFFFFFFFFFFFFFFFF
_RECORD = struct.Struct("<QQ")
_READ_SIZE = 65536

#: Seconds up to which a wait is short, and looks in that time.
_SOON = 100e-6
_LOOKS = 80 if (os.cpu_count() or 1) > 1 else 0
#: Seconds that the end of a stream waits for whoever is sending.
_PATIENCE = 1.0
_give_way = getattr(os, "sched_yield", lambda: None)

# From the launching process.                    a               b
SECRETS = 1  #: a marshalled mapping of variables
FUNCTION = 2  #: a marshalled function             slot            1 for a setup function
CALL = 3  #: sealed arguments                      slot            items of a batch
CREDIT = 4  #: more items may be sent              how many
CANCEL = 5  #: end the call of this channel
HOME_RESULT = 6  #: a sealed answer                number          1 if it raised
DRAIN = 7  #: end the service of this channel
STOP = 8  #: end once idle
SOURCES = 9  #: a source archive, digest first
TRIM = 10  #: give shared memory back that is not used

# From the worker.
HELLO = 32  #: a marshalled mapping of what it is
STARTED = 33  #: items of the batch are started    how many so far
LOG = 34  #: a marshalled list of output
ITEM = 35  #: sealed items                         first           count
RETURNED = 36  #: items are handed back            first
READY = 37  #: a marshalled mapping of urls
OUTCOME = 38  #: the sealed end of a call          see ENDED_*     0 or REPLACE
HOME_CALL = 39  #: a sealed call to home           number
PREPARED = 40  #: the setup of the function is done

# From either end.
RELEASE = 64  #: offsets in the other's arena that are free again
ARENA = 65  #: the arena has grown, or shrunk to 0 a: MiB

#: In ``b`` of a CALL frame: the caller takes a stream of items.
STREAM = 0x80000000

ENDED_WELL = 0
ENDED_RAISED = 1
ENDED_CANCELLED = 2

#: In ``b`` of an OUTCOME frame: the worker wants to end once it is idle.
REPLACE = 1


class Frame(_Frame):
    """
    One frame.

    Attributes:
        payload: Bytes, or a pair of the data and its out-of-band buffers.
    """

    __slots__ = ()


def pack_frame(kind: int, channel: int = 0, a: int = 0, b: int = 0, data: bytes = b"") -> bytes:
    """
    Return the bytes of a frame without buffers.
    """
    return HEADER.pack(kind, VERSION, 0, channel, a, b, len(data)) + data


def pack_buffers(data: bytes, buffers: Sequence[Any], arena: Any) -> list[Any]:
    """
    Return the parts of a payload that carries *buffers* beside *data*.

    The table has a pair (length, offset) for each buffer; the offset is into
    the sender's arena, or INLINE for one that follows the data. The length of
    the data stands after the table.
    """
    table = bytearray()
    inline = []
    for buffer in buffers:
        view = memoryview(buffer).cast("B")
        offset = arena.store(view) if arena is not None else None
        if offset is None:
            inline.append(view)
            offset = INLINE
        table += _RECORD.pack(len(view), offset)
    table += _RECORD.pack(len(data), 0)[:8]
    return [table, data, *inline]


def unpack_buffers(payload: Any, count: int, arena: Any) -> tuple[Any, list[Any]]:
    """
    Return the data and the buffers of a payload that carries *count* of them.
    """
    view = memoryview(payload)
    at = count * _RECORD.size
    size = int.from_bytes(view[at : at + 8], "little")
    at += 8
    data = bytes(view[at : at + size])
    at += size
    buffers: list[Any] = []
    for length, offset in _RECORD.iter_unpack(view[: count * _RECORD.size]):
        if offset == INLINE:
            buffers.append(view[at : at + length])
            at += length
        else:
            buffers.append(arena.view(offset, length))
    return data, buffers


class Stream:
    """
    Frames over two file descriptors, which it owns.

    Any thread may send; one at a time may read.

    Attributes:
        outbound: The arena that buffers are put into, or None.

        inbound: The arena that buffers of the other end are found in, or None.
    """

    def __init__(self, reader: int, writer: int) -> None:
        self.reader = reader
        self.writer = writer
        self.outbound: Any = None
        self.inbound: Any = None
        self._lock = threading.Lock()
        self._rest: bytes = b""
        self._large: bytearray | None = None
        self._soon = False
        self._poll: select.poll | None = None
        self._filled = 0

    @property
    def is_sending(self) -> bool:
        """
        Whether a frame is being written.
        """
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
                # The size is told before the first frame that relies on it.
                if self.outbound is not None and self.outbound.resized:
                    header = pack_frame(ARENA, a=self.outbound.take_resized() >> 20) + header
                self._write([header, *parts])
            return
        message = HEADER.pack(kind, VERSION, 0, channel, a, b, len(data))
        if len(data) < _READ_SIZE:
            message += data
            with self._lock:
                sent = os.write(self.writer, message)
                if sent < len(message):
                    self._write([message[sent:]])
            return
        with self._lock:
            self._write([message, data])

    @property
    def shared_size(self) -> int:
        """
        Bytes of shared memory that this end has mapped.
        """
        arenas = (self.inbound, self.outbound)
        return sum(arena.size for arena in arenas if arena is not None)

    def trim(self) -> None:
        """
        Give shared memory back that no buffer uses; for an end that is idle.
        """
        if self.inbound is not None and self.inbound.freed:
            self._send_releases()
        if self.outbound is not None and self.outbound.trim():
            with self._lock:
                self._write([pack_frame(ARENA, a=self.outbound.take_resized() >> 20)])

    def write(self, data: bytes) -> None:
        """
        Send bytes that are whole frames, or come before the first one.
        """
        with self._lock:
            self._write([data])

    def read(self) -> list[Received] | None:
        """
        Read once; return the frames that are complete, or None at the end.
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
        Read once, like :meth:`read`, for an end that expects something at once.

        Waking a process that sleeps takes longer than a short call does. So where
        the last wait was short, it looks for some microseconds before it sleeps,
        and lets whoever wants its processor have it meanwhile.
        """
        began = time.perf_counter()
        if self._soon:
            poll = self._poll
            if poll is None:
                poll = self._poll = select.poll()
                poll.register(self.reader, select.POLLIN)
            for _ in range(_LOOKS):
                if poll.poll(0):
                    return self.read()
                _give_way()
        received = self.read()
        self._soon = time.perf_counter() - began < _SOON
        return received

    def parse(self, data: bytes) -> list[Received]:
        """
        Return the frames that *data* completes, and keep the rest for later.
        """
        size = len(data)
        at = 0
        if size >= HEADER_SIZE:
            kind, _, buffers, channel, a, b, length = HEADER.unpack_from(data)
            if length + HEADER_SIZE == size and not buffers and kind < RELEASE:
                # The usual case: one frame, and all of it.
                self._rest = b""
                return [(kind, channel, a, b, data[HEADER_SIZE:])]
        frames: list[Received] = []
        while size - at >= HEADER_SIZE:
            kind, _, buffers, channel, a, b, length = HEADER.unpack_from(data, at)
            start = at + HEADER_SIZE
            end = start + length
            if end > size:
                if length > _READ_SIZE:
                    self._large = bytearray(HEADER_SIZE + length)
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
        Say that nothing more is sent, and have whoever sends or reads find that out.

        The descriptors stay open, for those who use them at this moment.
        """
        # Only whoever launches workers needs it.
        import _socket

        try:
            stream = _socket.socket(fileno=self.writer)
        except OSError:
            # No socket, so that it has two descriptors. What can only be read takes the
            # place of what was written.
            os.dup2(self.reader, self.writer, inheritable=False)
            return
        try:
            stream.shutdown(_socket.SHUT_RDWR)
        except OSError:
            pass  # The other end is gone.
        finally:
            stream.detach()

    def end(self) -> None:
        """
        Close the stream once no thread sends any more; the caller is the one that reads.
        """
        self.shut()
        # A pipe that nobody reads any more, and that stays open, is not waited for.
        sending = self._lock.acquire(timeout=_PATIENCE)
        try:
            self.close()
        finally:
            if sending:
                self._lock.release()

    def close(self) -> None:
        """
        Close both descriptors and the arenas; it may be called again.

        No other thread may use them, see :meth:`end`.
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
        if kind == ARENA:
            self.inbound.resize(a << 20)
        elif kind == RELEASE:
            self.outbound.release(payload)
        else:
            if buffers:
                payload = unpack_buffers(payload, buffers, self.inbound)
            frames.append((kind, channel, a, b, payload))

    def _read_large(self, large: bytearray) -> list[Received] | None:
        try:
            count = os.readv(self.reader, [memoryview(large)[self._filled :]])
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
        payload: Any = memoryview(large)[HEADER_SIZE:].toreadonly()
        self._add(frames, kind, buffers, channel, a, b, payload)
        return frames

    def _send_releases(self) -> None:
        offsets = self.inbound.take_freed()
        if offsets:
            with self._lock:
                self._write([pack_frame(RELEASE, data=offsets)])

    def _write(self, parts: Iterable[Any]) -> None:
        views = [memoryview(part).cast("B") for part in parts if len(part)]
        while views:
            count = os.writev(self.writer, views[:64])
            while views and count >= len(views[0]):
                count -= len(views[0])
                del views[0]
            if count:
                views[0] = views[0][count:]
