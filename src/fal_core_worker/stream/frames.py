"""
Frames: the messages that the two ends of a worker's stream exchange.

The worker's side of a stream begins with :data:`MAGIC`; bytes before it are output of
programs that ran first. A frame is a header of 24 bytes, little endian, and its payload::

    kind u8 · version u8 · buffers u16 · channel u32 · a u32 · b u32 · length u64

The header is frozen: a later version may add kinds, and change payloads. The channel is
the number of the call that a frame belongs to; 0 is the worker itself. What *a* and *b*
mean depends on the kind. If *buffers* is not 0, the payload begins with a table of them,
see :func:`pack_buffers`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    #: A frame as it is read: kind, channel, a, b, and the payload, which is bytes or a pair
    #: of the data and its out-of-band buffers.
    Received = tuple[int, int, int, int, Any]

MAGIC = b"\x00fal-core-worker\x01\n"
HEADER = struct.Struct("<BBHIIIQ")
HEADER_SIZE = HEADER.size
VERSION = 1
INLINE = 0xFFFFFFFFFFFFFFFF
_RECORD = struct.Struct("<QQ")

# From the launching process.                    a               b
SECRETS = 1  #: a marshalled mapping of variables
FUNCTION = 2  #: a marshalled function             slot            1 for a setup function
CALL = 3  #: sealed arguments                      slot            items of a batch, or STREAM
CREDIT = 4  #: more items may be sent              how many
CANCEL = 5  #: cancel the call of this channel
HOME_RESULT = 6  #: the sealed result of HOME_CALL number          1 if it raised
DRAIN = 7  #: drain the service of this channel
STOP = 8  #: exit once idle
SOURCES = 9  #: a source archive, digest first
TRIM = 10  #: give unused shared memory back
NODE = 11  #: the node of the CALL that follows, see nodes

# From the worker.
HELLO = 32  #: what describes the worker, see payloads
STARTED = 33  #: items of the batch have started   how many so far
LOG = 34  #: lines of output, see payloads
ITEM = 35  #: sealed items                         first           count
RETURNED = 36  #: items are handed back            first
READY = 37  #: a mapping of URLs, see payloads
OUTCOME = 38  #: the sealed outcome of a call      see ENDED_*     REPLACE, LEFT
HOME_CALL = 39  #: a sealed call to home           number
PREPARED = 40  #: the setup function has run

# From either end.
RELEASE = 64  #: offsets in the receiver's arena that are free again
ARENA = 65  #: the sender's arena was resized      MiB; 0 after a trim

#: In *b* of a CALL frame: the caller takes a stream of items.
STREAM = 0x80000000

#: How many items of a stream may be sent before the caller gives CREDIT.
WINDOW = 16

# How a call ended: *a* of an OUTCOME frame.
ENDED_WELL = 0
ENDED_RAISED = 1
ENDED_CANCELLED = 2

#: In *b* of an OUTCOME frame: the worker exits once it is idle.
REPLACE = 1
#: Likewise: threads that the call has started go on, and may print.
LEFT = 2

#: How an item of a batch ended: the first part of each pair in an ITEM frame.
VALUE, RAISED, SEALED = 0, 1, 2

#: The levels of output, which a LOG frame refers to by their index.
LEVELS = ("STDOUT", "STDERR", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "TRACE")
#: Added to the level of a line that is still incomplete.
PARTIAL = 16
#: Added to the level of a record: the name of its logger and a line end come before its text,
#: which is not split into lines.
RECORD = 32

#: The largest payload of most kinds, in bytes, and that of a LOG frame.
LARGEST, LARGEST_LOG = 1 << 16, 1 << 26

#: The kinds whose payload may be larger, as it holds what functions take and return.
_LARGE = frozenset(
    (SECRETS, FUNCTION, CALL, HOME_RESULT, SOURCES, NODE, ITEM, OUTCOME, HOME_CALL, RELEASE)
)


class UnreadableFrame(ValueError):
    """The other end of a stream has sent what is no frame. The argument says what is wrong."""


def check_size(kind: int, length: int, largest: int) -> None:
    """
    Raise an error if a frame of *kind* may not have a payload of *length* bytes.

    Arguments:
        largest: The most that this end takes.

    Raises:
        UnreadableFrame: It may not.
    """
    most = largest if kind in _LARGE else LARGEST_LOG if kind == LOG else LARGEST
    if length > min(most, largest):
        raise UnreadableFrame(
            f"a frame of kind {kind} announces {length} bytes, of at most {min(most, largest)}"
        )


def pack_frame(kind: int, channel: int = 0, a: int = 0, b: int = 0, data: bytes = b"") -> bytes:
    """Return the bytes of a frame without buffers."""
    return HEADER.pack(kind, VERSION, 0, channel, a, b, len(data)) + data


def pack_buffers(data: bytes, buffers: Sequence[Any], arena: Any) -> list[Any]:
    """
    Return the parts of a payload that carries *buffers* beside *data*.

    The table has a pair (length, offset) for each buffer. The offset is into the
    sender's arena, or INLINE for a buffer that follows the data. The length of the data
    stands after the table.
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
    Return the data and the *count* buffers of a payload that carries buffers.

    Raises:
        UnreadableFrame: The payload has not what its table says, or the arena has not.
    """
    view = memoryview(payload)
    at = count * _RECORD.size + 8
    size = int.from_bytes(view[at - 8 : at], "little")
    end = at + size
    if end > len(view):
        raise UnreadableFrame(f"a frame with {count} buffers is shorter than their table says")
    data = bytes(view[at:end])
    buffers: list[Any] = []
    for length, offset in _RECORD.iter_unpack(view[: count * _RECORD.size]):
        if offset == INLINE:
            at, end = end, end + length
            if end > len(view):
                raise UnreadableFrame("a buffer is longer than the frame that carries it")
            buffers.append(view[at:end])
        elif arena is None:
            raise UnreadableFrame("a buffer lies in shared memory, and there is none")
        else:
            buffers.append(arena.view(offset, length))
    return data, buffers
